"""Builds the parts of a run from a configuration in plain dicts; the only place that knows both.

Lightning takes seconds to import: only the functions that need it import it, so that predicting starts fast.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from deeplab.config.build_crf import CRF_RUN_KEYS, build_crf_params, build_dense_crf
from deeplab.config.make import make, refusal
from deeplab.config.processes import worker_count
from deeplab.errors import InputError
from deeplab.inference.probabilities import Inference
from deeplab.models.deeplab import DeepLab
from deeplab.models.image_input import ImageInput, InputConvention
from deeplab.models.multi_scale import MultiScale
from deeplab.models.weight_file import WeightFile, read_weight_file
from deeplab.models.weights import fill

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import Logger

    from deeplab.data.module import SegmentationData
    from deeplab.training.crf_evaluation import CRFEvaluation, Refined
    from deeplab.training.module import SegmentationModule
    from deeplab.training.ranks import Ranks

log = logging.getLogger(__name__)

Plain = dict[str, Any]
# Lightning's: about its own code, short epochs, and resumed runs, which have a folder and an evaluation of their own;
# about layers that `optim.freeze_bn` holds; about an srun that happens to be installed. torch's: about the first step
# of a float16 run, which the scaler leaves out while it looks for its scale.
WARNINGS_WITHOUT_USE = (
    r"Found \d+ module\(s\) in eval mode",
    "The `srun` command is available",
    r"Detected call of `lr_scheduler\.step\(\)` before",
    ".*treespec, LeafSpec",
    "The number of training batches",
    "The dirpath has changed",
    "Be aware that when using `ckpt_path`",
    "Checkpoint directory .* exists and is not empty",
)
# By precision: what convolutions compute in; None is the type of the weights.
ARITHMETIC = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def build_network(model: Plain, num_classes: int) -> DeepLab | MultiScale:
    """The network of a configuration's `model` section, randomly initialised.

    Raises InputError when a part refuses its configuration.
    """
    backbone, head = make(model["backbone"], "model.backbone"), make(model["head"], "model.head")
    try:
        network = DeepLab(input=ImageInput(**model["input"]), backbone=backbone, head=head, num_classes=num_classes)
        # Checkpoints of before there was a choice lack the rules.
        rules = model.get("multi_scale_rules", {})
        return MultiScale(network, model["multi_scale"], **rules) if model["multi_scale"] else network
    except (ValueError, TypeError) as error:
        raise InputError(refusal("model", error)) from error


def read_initial_weights(config: Plain) -> WeightFile | None:
    """Read the file of `init.path`, if any, and let it decide what its weights are fed with.

    `model.input`, and where a ResNet has its strides, are changed in `config` to what the file's weights were made
    with, unless `init.allow` names "input" or "stride_in_1x1"; each change is said.

    Raises InputError when the file is refused.
    """
    init = config["init"]
    if init["path"] is None:
        return None
    try:
        file = read_weight_file(Path(init["path"]).expanduser())
    except ValueError as error:
        raise InputError(f"init.path: {error}") from error
    model, backbone = config["model"], config["model"]["backbone"]
    if file.convention is None:
        if "input" not in init["allow"]:
            log.warning("%s does not tell which input its weights expect: model.input decides", file.source)
    elif "input" not in init["allow"] and not file.convention.agrees_with(ImageInput(**model["input"]).convention):
        model["input"] = to_section(file.convention)
        log.warning("model.input is now what the weights of %s expect: %s", file.source, file.convention)
    if (
        file.stride_in_1x1 is not None
        and backbone.get("stride_in_1x1", file.stride_in_1x1) != file.stride_in_1x1
        and "stride_in_1x1" not in init["allow"]
        and backbone.get("depth", 101) >= 50
    ):
        # The pool of the first layer goes with it: Caffe rounds up, torchvision down.
        backbone |= {"stride_in_1x1": file.stride_in_1x1, "ceil_pool": file.stride_in_1x1}
        log.warning(
            "model.backbone is now of the form that the weights of %s were made for: stride_in_1x1 and ceil_pool %s",
            file.source,
            file.stride_in_1x1,
        )
    return file


def to_section(convention: InputConvention) -> Plain:
    """The convention as a configuration's `model.input`."""
    return {
        "channels": convention.channels,
        "scale": convention.scale,
        "mean": list(convention.mean),
        "std": list(convention.std),
    }


def initialise(network: DeepLab | MultiScale, config: Plain, file: WeightFile | None) -> bool:
    """Load the initial weights, if any; return whether batch normalisation is kept as loaded.

    Raises InputError when the file does not fit.
    """
    init, freeze_bn = config["init"], config["optim"]["freeze_bn"]
    if file is None:
        return bool(freeze_bn)
    try:
        report = fill(file, network, init["allow"])
    except ValueError as error:
        raise InputError(f"init.path: {error}") from error
    log.info("Initial weights: %s Their sha256: %s", report, file.sha256)
    for note in report.notes:
        log.warning("Initial weights: %s.", note)
    if config["optim"]["fc_rate"] == "backbone" and any(".fc6." in name for name in report.random):
        log.warning("fc6 and fc7 start from random values: optim.fc_rate=head lets them learn faster")
    return freeze_bn is None or bool(freeze_bn)


def freeze(network: DeepLab | MultiScale, names: list[str]) -> None:
    """Stop the parameters below the named modules ("backbone.features.0") from being trained.

    Raises InputError for a name that no module has.
    """
    base = network.network if isinstance(network, MultiScale) else network
    modules = dict(base.named_modules())
    for name in names:
        if name not in modules or not name:
            raise InputError(f"optim.freeze: the network has no module '{name}'; `deeplab model` lists them.")
        modules[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise InputError(f"optim.freeze={names}: nothing is left to train.")


def build_data(config: Plain, network: DeepLab | MultiScale) -> SegmentationData:
    """The DataModule of a configuration; raises InputError for what is wrong on disk."""
    from deeplab.data.module import SegmentationData

    data = dict(config["data"])
    layout = make(data.pop("layout"), "data.layout")
    del data["batch_size_per_device"]  # the LightningModule's: pictures a forward pass
    data["num_workers"] = worker_count("data.num_workers", data["num_workers"])
    try:
        return SegmentationData(
            layout=layout,
            num_classes=len(data["class_names"]),
            seed=config["seed"],
            pad_rgb=network.input.pad_rgb,
            global_batch_size=config["optim"]["global_batch_size"],
            **data,
        )
    except (ValueError, TypeError) as error:
        raise InputError(refusal("data", error)) from error


def build_inference(inference: Plain) -> Inference:
    """Raises InputError when the section is refused."""
    try:
        return Inference(**inference)
    except (TypeError, ValueError) as error:
        raise InputError(f"inference: {error}") from error


def build_crf_evaluation(crf: Plain, class_names: list[str], on_refined: Refined | None = None) -> CRFEvaluation | None:
    """The callback, or None for `crf=none`."""
    from deeplab.training.crf_evaluation import CRFEvaluation

    if crf["backend"] == "none":
        return None
    build_dense_crf(crf, len(class_names))  # what cannot work is refused now, not in the first validation
    run = {key: crf[key] for key in CRF_RUN_KEYS} | {"workers": worker_count("crf.workers", crf["workers"])}
    return CRFEvaluation(build_crf_params(crf), class_names=class_names, on_refined=on_refined, **run)


def build_module(config: Plain, network: DeepLab | MultiScale, freeze_bn: bool) -> SegmentationModule:
    """The LightningModule; its checkpoints carry `config`."""
    from deeplab.training.losses import SHRINKING
    from deeplab.training.module import SegmentationModule

    optim = config["optim"]
    optimizer, schedule = make(optim["optimizer"], "optim.optimizer"), make(optim["schedule"], "optim.schedule")
    try:  # on one number, so that a value which the optimizer refuses is known before any work
        optimizer([nn.Parameter(torch.zeros(1))], lr=optim["lr"])
        schedule(0)
    except (ValueError, TypeError, IndexError) as error:
        raise InputError(refusal("optim", error)) from error
    for key, choices in (("label_shrinking", SHRINKING), ("fc_rate", ("head", "backbone"))):
        if optim[key] not in choices:
            raise InputError(f"optim.{key}={optim[key]}: choose one of {', '.join(choices)}.")
    return SegmentationModule(
        network=network,
        inference=build_inference(config["inference"]),
        class_names=config["data"]["class_names"],
        optimizer=optimizer,
        schedule=schedule,
        lr=optim["lr"],
        weight_decay=optim["weight_decay"],
        multipliers=optim["multipliers"],
        global_batch_size=optim["global_batch_size"],
        loss_group=optim["loss_group"],
        batch_size_per_device=config["data"]["batch_size_per_device"],
        freeze_bn=freeze_bn,
        gradient_clip=optim["gradient_clip"],
        max_probability_pixels=max(config["inference"]["max_pixels"], config["crf"]["max_pixels"]),
        record={"config": config},
        label_shrinking=optim["label_shrinking"],
        fc_rate=optim["fc_rate"],
        class_weights=optim.get("class_weights"),  # checkpoints of before there were any lack the key
    )


def build_loggers(config: Plain, folder: Path) -> list[Logger]:
    """metrics.csv always, and the configuration's logger beside it."""
    from deeplab.training.run_metrics import RunMetrics

    loggers: list[Logger] = [RunMetrics(folder)]
    if config["logger"]:
        make_logger = make({**config["logger"], "_partial_": True}, "logger")
        loggers.append(make_logger(folder=folder, config=config))
    return loggers


def build_callbacks(config: Plain) -> list[pl.Callback]:
    """Progress, and the user's own callbacks."""
    from deeplab.training.progress import progress_display

    bar = config["trainer"]["progress_bar"]
    ours: list[pl.Callback] = [progress_display(config["trainer"]["log_every_n_steps"])] if bar else []
    return ours + [make(each, f"callbacks.{name}") for name, each in (config["callbacks"] or {}).items()]


def build_trainer(
    trainer: Plain,
    callbacks: list[pl.Callback],
    loggers: Any,
    folder: Path,
    max_steps: int = -1,
    trains_batch_norm: bool = False,
    ranks: Ranks | None = None,
    same: Plain | None = None,
) -> pl.Trainer:
    """Lightning's Trainer; validation and checkpoints are counted in optimizer steps.

    Where it uses several processes, `ranks` watches them, and what is in `same` has to be equal on all.

    Batch normalisation that is trained takes its statistics over all GPUs (torch has no such layer on the CPU).

    Raises InputError when it refuses a value.
    """
    import pytorch_lightning as pl
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    from deeplab.training.no_profiler import NoProfiler

    if trainer["num_threads"]:
        torch.set_num_threads(trainer["num_threads"])
    every, every_n = trainer["val_every_n_steps"], trainer["log_every_n_steps"]
    validates = every is not None and 0 < every <= max_steps
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # it announces absent devices and other products
    for message in WARNINGS_WITHOUT_USE:
        warnings.filterwarnings("ignore", message)
    devices, num_nodes = processes(trainer)
    strategy: Any = trainer["strategy"]
    try:
        if ranks is not None and (strategy == "ddp" or (strategy == "auto" and num_devices(trainer) > 1)):
            from deeplab.training.ddp import WatchedDDP

            strategy = WatchedDDP(ranks, trainer["start_timeout"], trainer["timeout"], same or {})
        made = pl.Trainer(
            accelerator=trainer["accelerator"],
            devices=devices,
            num_nodes=num_nodes,
            strategy=strategy,
            precision=trainer["precision"],
            deterministic=trainer["deterministic"],
            max_steps=max_steps,
            val_check_interval=every if validates else None,
            check_val_every_n_epoch=None if validates else 1,
            limit_val_batches=None if validates or max_steps < 0 else 0,
            num_sanity_val_steps=0,
            log_every_n_steps=every_n if max_steps < 0 else min(every_n, max_steps),
            enable_progress_bar=any(isinstance(each, pl.callbacks.ProgressBar) for each in callbacks),
            enable_model_summary=False,
            use_distributed_sampler=False,
            sync_batchnorm=trains_batch_norm and trainer["accelerator"] != "cpu" and torch.cuda.is_available(),
            callbacks=callbacks,
            logger=loggers,
            default_root_dir=str(folder),
            **{"profiler": NoProfiler(), **trainer["options"]},
        )
        # Signals are caught in training/leaving.py alone: Lightning's handler exchanges tensors between the ranks
        # wherever it finds them, and requeues Slurm jobs on SIGUSR1.
        made._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
        return made
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise InputError(refusal("trainer", error)) from error


def processes(trainer: Plain) -> tuple[Any, int]:
    """Devices a node and nodes; where torchrun started the processes, what it started."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["GROUP_WORLD_SIZE"])
    devices = trainer["devices"]
    if isinstance(devices, str) and devices not in ("auto", "-1") and not re.fullmatch(r"[\d, ]+", devices):
        raise InputError(f"trainer.devices={devices}: give a number, a list of numbers, or auto.")
    return devices, trainer["num_nodes"]


def num_devices(trainer: Plain) -> int:
    """How many processes the trainer's section asks for, over all nodes."""
    devices, nodes = processes(trainer)
    if isinstance(devices, list):
        return len(devices) * nodes
    if str(devices) in ("auto", "-1"):
        gpus = torch.cuda.device_count() if trainer["accelerator"] in ("auto", "gpu", "cuda") else 0
        return max(1, gpus) * nodes
    return int(devices) * nodes if str(devices).isdigit() else nodes


def prepare_network(network: nn.Module, trainer: Plain) -> None:
    """Memory format and compilation, as the trainer's section says."""
    if trainer["channels_last"]:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if trainer["compile"]:
        # What multi-scale inputs share is the inner network: training calls that one, not the wrapper.
        (network.network if isinstance(network, MultiScale) else network).compile()


def place_network(network: nn.Module, trainer: Plain) -> None:
    """Threads, device, memory format, compilation and precision, for commands that run without Lightning.

    Raises InputError for a precision that only Lightning has.
    """
    if trainer["num_threads"]:
        torch.set_num_threads(trainer["num_threads"])
    device = "cuda" if trainer["accelerator"] in ("gpu", "cuda") else "cpu"
    precision = trainer["precision"]
    if precision not in ARITHMETIC:
        raise InputError(f"trainer.precision={precision}: this command knows {', '.join(ARITHMETIC)}.")
    network.to(device)
    prepare_network(network, trainer)
    if ARITHMETIC[precision] is not None:
        network.forward = torch.autocast(device, ARITHMETIC[precision])(network.forward)  # type: ignore[method-assign]
