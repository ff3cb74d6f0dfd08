"""A network and its configuration from a checkpoint alone."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from deeplab.config.build import build_network
from deeplab.config.explain import explain
from deeplab.config.preflight import locate, targets, to_plain
from deeplab.config.schema import CRFConfig, DataConfig, InferenceConfig
from deeplab.errors import InputError
from deeplab.models.checkpoint_file import CHECKPOINT_KEY, damage, read_checkpoint
from deeplab.models.deeplab import DeepLab
from deeplab.models.multi_scale import MultiScale
from deeplab.models.weight_values import check_values
from deeplab.reporting.repetition import ABSENT, config_differences
from deeplab.reporting.run_files import BEST, CHECKPOINTS, LAST

if TYPE_CHECKING:
    from deeplab.data.module import SegmentationData

Plain = dict[str, Any]
Tensors = dict[str, torch.Tensor]
PREFIX = "network."
# What makes another training of it; what a run may change on the way, as its length, is not among them.
SAME_ON_RESUME = (
    "model",
    "optim.optimizer._target_",
    "optim.freeze",
    "optim.freeze_bn",
    "optim.fc_rate",
    "data.name",
    "data.class_names",
    "data.train_split",
    "data.hold_out",
    "data.hold_out_seed",
    "seed",
)
TOLD_ON_RESUME = ("optim.", "data.")
TRAINING_STATE = ("optimizer_states", "lr_schedulers", "loops")
TAKES = {
    "checkpoint": "a checkpoint of deeplab train or a run's folder",
    "resume": "a run's folder, a checkpoint of it, or auto for the run's own",
}

log = logging.getLogger(__name__)


def which_checkpoint(given: str) -> str:
    """The file that `checkpoint` means: of a run's folder its best, or else its last, and that is said.

    Raises InputError for a run's folder without either, and for a folder of runs, naming the latest; any other path is
    left as it is.
    """
    folder = Path(given).expanduser()
    checkpoints = folder / CHECKPOINTS
    try:
        names = {each.name for each in checkpoints.iterdir()}
    except OSError:  # no such folder, or one that may not be entered
        _check_no_folder_of_runs(folder)
        return given
    for name in (BEST, LAST):
        if name in names:
            log.info("checkpoint=%s: taking %s", given, checkpoints / name)
            return str(checkpoints / name)
    raise InputError(f"checkpoint: {checkpoints} holds neither {BEST} nor {LAST}; name another run.")


def _check_no_folder_of_runs(folder: Path) -> None:
    checkpoints = [path for path in folder.glob(f"*/{CHECKPOINTS}/*.ckpt") if path.is_file()]
    if checkpoints:
        latest = max(checkpoints, key=lambda path: path.stat().st_mtime).parent.parent
        raise InputError(f"checkpoint: {folder} is not a run's folder but holds runs; the latest is {latest}.")


def load_checkpoint(path: str) -> tuple[Plain, Tensors]:
    """The configuration and the network's tensors that a checkpoint of `deeplab train` carries.

    Raises InputError for a missing, truncated or foreign file, and for one that would have code run: pickled, or as
    the `_target_` of something that is no network and no data set.
    """
    checkpoint = _read(path, "checkpoint")
    return checkpoint[CHECKPOINT_KEY]["config"], _network_tensors(checkpoint)


def check_resume(config: Plain, network: DeepLab | MultiScale, data: "SegmentationData", path: Path) -> None:
    """Raise InputError for a checkpoint from which this training cannot go on, and say what else it changes.

    Nothing is written before: the folder may be that of the run that wrote the checkpoint. network: of the
    configuration, its values do not matter.
    """
    checkpoint = _read(str(path), "resume")
    if any(not checkpoint.get(key) for key in TRAINING_STATE):
        raise InputError(f"resume={path}: it has a network but no state of training; start from it by init.path.")
    tensors = _network_tensors(checkpoint)
    misfits = sorted(_misfits(network, tensors))
    if misfits:
        raise InputError(
            f"resume={path}: it holds another network than this configuration builds ({len(misfits)} tensors differ, "
            f"for example {misfits[0]}); resume with the configuration that it was trained with."
        )
    _check_values(tensors, f"resume={path}")
    step, last = checkpoint.get("global_step"), config["optim"]["max_steps"]
    if isinstance(step, int) and step > last:
        raise InputError(f"resume={path}: it is of step {step}, and optim.max_steps={last} has been passed.")
    before = checkpoint[CHECKPOINT_KEY]["config"]
    changes = {key: (old, new) for key, old, new in config_differences(before, config) if old != ABSENT}
    for key in SAME_ON_RESUME:
        for changed, (old, new) in changes.items():
            if f"{changed}.".startswith(f"{key}."):
                raise InputError(
                    f"resume={path}: it was trained with {changed}={old}, this run has {new}; take the same."
                )
    _check_position(checkpoint, data, path)
    told = [f"{key}={new} (until now {old})" for key, (old, new) in changes.items() if key.startswith(TOLD_ON_RESUME)]
    if told:
        log.warning("From here on it is trained with %s", ", ".join(told))


def _check_position(checkpoint: Plain, data: "SegmentationData", path: Path) -> None:
    """Raise InputError if the checkpoint's position in the training data is none in `data`."""
    try:
        [position] = checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"]
        data.train_dataloader().load_state_dict(position)
    except InputError as error:
        raise InputError(f"resume={path}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"resume={path}: its state of training is damaged; start from it by init.path.") from error


def _check_values(tensors: Tensors, source: str) -> None:
    try:
        check_values(tensors, source)
    except ValueError as error:
        raise InputError(str(error)) from error


def overlay(carried: Plain, given: DictConfig) -> Plain:
    """What a checkpoint carries with `data`, `inference` and `crf` of the command line laid over it.

    Raises InputError for keys or types that the sections do not have, and for a CRF's values without a CRF.
    """
    result = dict(carried)
    for key, schema in (("data", DataConfig), ("inference", InferenceConfig), ("crf", CRFConfig)):
        section = given.get(key) or {}
        # A whole choice (data=voc12) stands alone: keys that only the other layout has would be in its way.
        base = {} if key == "data" and "_target_" in (section.get("layout") or {}) else carried[key]
        node = OmegaConf.create({key: OmegaConf.structured(schema)})
        OmegaConf.set_struct(node[key], True)
        try:
            result[key] = to_plain(OmegaConf.merge(node, {key: base}, {key: to_plain(section)}))[key]
        except OmegaConfBaseException as error:
            raise InputError(explain(error)) from error
    refining = given.get("crf") or {}
    if refining and "backend" not in refining and result["crf"]["backend"] == "none":
        raise InputError(
            f"crf.{next(iter(refining))}: the checkpoint has crf=none, so nothing would be refined; add crf=default."
        )
    _move_layout(carried["data"], result["data"])
    if len(result["data"]["class_names"]) != len(carried["data"]["class_names"]):
        raise InputError(
            f"The data have {len(result['data']['class_names'])} classes, the checkpoint's network has "
            f"{len(carried['data']['class_names'])}: evaluate on data with the same classes."
        )
    return result


def rebuild_network(config: Plain, tensors: Tensors, path: str) -> DeepLab | MultiScale:
    """The network of `config` with the checkpoint's tensors, in evaluation mode.

    Raises InputError when they do not fit, and for values that no trained network has.
    """
    network = build_network(config["model"], len(config["data"]["class_names"]))
    misfits = sorted(_misfits(network, tensors))
    if misfits:
        raise InputError(
            f"{path} does not fit the network of its own configuration ({len(misfits)} tensors differ, for example "
            f"{misfits[0]}): the file or the code was changed; train again, or use the code that wrote it."
        )
    _check_values(tensors, path)
    network.load_state_dict(tensors)
    return network.eval()


def _read(path: str, key: str) -> Plain:
    try:
        checkpoint = read_checkpoint(Path(path).expanduser())
    except ValueError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise InputError(f"{key}: {path}: {_nothing_there(path, key)}.") from error
        raise InputError(f"{key}: {error}") from error
    fault = damage(Path(path).expanduser())
    if fault is not None:
        raise InputError(f"{key}: {path} is damaged ({fault}); take another checkpoint.")
    if not _is_ours(checkpoint):
        raise InputError(
            f"{key}: {path} is not a checkpoint of deeplab train (it carries no configuration); weights alone are "
            "given to deeplab train as init.path."
        )
    for target in _refused_targets(checkpoint[CHECKPOINT_KEY]["config"]):
        raise InputError(f"{key}: {path}: refused, for its configuration names {target}, which is not ours to call.")
    assert isinstance(checkpoint, dict)
    return checkpoint


def _nothing_there(path: str, key: str) -> str:
    last = Path(path).expanduser().with_name(LAST)
    if last.is_file():  # and no best.ckpt, as where a run was not validated
        return f"there is no such file; there is {last}, take that"
    return f"there is no such file or folder; {key} takes {TAKES[key]}"


def _is_ours(checkpoint: Any) -> bool:
    try:
        config = checkpoint[CHECKPOINT_KEY]["config"]
        sections = [config[key] for key in ("model", "data", "optim", "inference", "crf")]
        known = isinstance(config["seed"], int) and isinstance(config["name"], str)
        tensors = all(isinstance(each, torch.Tensor) for each in checkpoint["state_dict"].values())
        return known and tensors and all(isinstance(each, dict) for each in [*sections, checkpoint["state_dict"]])
    except (KeyError, TypeError, IndexError, AttributeError):
        return False


def _refused_targets(config: Plain) -> Iterator[str]:
    """Every `_target_` that building from a checkpoint would call though it is not what stands there by right."""
    for path, node in targets({key: config[key] for key in ("model", "data", "optim")}, ""):
        target = str(node["_target_"])
        code = locate(target)
        if isinstance(code, Exception):
            continue  # named with the other mismatches when it is to be built
        known = isinstance(code, type) and (
            (path.startswith("model.") and issubclass(code, nn.Module))
            or (path == "data.layout" and hasattr(code, "split"))
            or (path == "optim.optimizer" and issubclass(code, torch.optim.Optimizer))
            or (path == "optim.schedule" and any("__call__" in vars(each) for each in code.__mro__))
        )
        if not known:
            yield f"{path}._target_={target}"


def _network_tensors(checkpoint: Plain) -> Tensors:
    state = checkpoint["state_dict"]
    return {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}


def _misfits(network: nn.Module, tensors: Tensors) -> set[str]:
    """Names of tensors that are missing, too many, or of another shape."""
    expected = network.state_dict()
    other = {key for key in expected.keys() & tensors.keys() if tensors[key].shape != expected[key].shape}
    return other | (expected.keys() ^ tensors.keys())


def _move_layout(carried: Plain, data: Plain) -> None:
    """Let a new data.root reach the layout, whose ${data.root} was resolved when the checkpoint was written."""
    before, layout = carried["root"], data["layout"] or {}
    if before is not None and before == layout.get("root") == carried["layout"].get("root"):
        layout["root"] = data["root"]
