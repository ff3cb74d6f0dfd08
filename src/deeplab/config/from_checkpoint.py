"""A network and its configuration from a checkpoint alone."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from deeplab.config.build import build_network
from deeplab.config.launch import explain
from deeplab.config.preflight import to_plain
from deeplab.config.schema import CRFConfig, InferenceConfig
from deeplab.errors import InputError
from deeplab.models.checkpoint_file import read_checkpoint
from deeplab.models.deeplab import DeepLab
from deeplab.models.multi_scale import MultiScale
from deeplab.training.module import CHECKPOINT_KEY

Plain = dict[str, Any]
PREFIX = "network."


def load_checkpoint(path: str) -> tuple[Plain, dict[str, Any]]:
    """The configuration and the network's tensors that a checkpoint of `deeplab train` carries.

    Raises InputError for a missing, truncated or foreign file, and for one that holds pickled code.
    """
    try:
        checkpoint = read_checkpoint(Path(path).expanduser())
    except (ValueError, OSError) as error:
        raise InputError(f"checkpoint: {error}") from error
    if CHECKPOINT_KEY not in checkpoint or "state_dict" not in checkpoint:
        raise InputError(
            f"{path} is not a checkpoint of deeplab train (it carries no configuration); weights alone are given to "
            "deeplab train as init.path."
        )
    tensors = {
        key.removeprefix(PREFIX): value for key, value in checkpoint["state_dict"].items() if key.startswith(PREFIX)
    }
    return checkpoint[CHECKPOINT_KEY]["config"], tensors


def overlay(carried: Plain, given: DictConfig) -> Plain:
    """What a checkpoint carries with `data`, `inference` and `crf` of the command line laid over it.

    Raises InputError for keys or types that the sections do not have.
    """
    result = dict(carried)
    try:
        for key, schema in (("inference", InferenceConfig), ("crf", CRFConfig)):
            merged = OmegaConf.merge(OmegaConf.structured(schema), carried[key], given.get(key) or {})
            result[key] = to_plain(merged)
    except OmegaConfBaseException as error:
        raise InputError(f"{key}: {explain(error)}") from error
    data = given.get("data") or {}
    if "layout" in data and "_target_" in data["layout"]:
        result["data"] = to_plain(given)["data"]
    elif data:
        result["data"] = to_plain(OmegaConf.merge(carried["data"], data))
    if len(result["data"]["class_names"]) != len(carried["data"]["class_names"]):
        raise InputError(
            f"The data have {len(result['data']['class_names'])} classes, the checkpoint's network has "
            f"{len(carried['data']['class_names'])}: evaluate on data with the same classes."
        )
    return result


def rebuild_network(config: Plain, tensors: dict[str, Any], path: str) -> DeepLab | MultiScale:
    """The network of `config` with the checkpoint's tensors, in evaluation mode.

    Raises InputError when they do not fit.
    """
    network = build_network(config["model"], len(config["data"]["class_names"]))
    expected = network.state_dict()
    wrong = sorted(key for key in expected if key not in tensors or tensors[key].shape != expected[key].shape)
    if wrong or len(tensors) != len(expected):
        example = wrong[0] if wrong else next(key for key in tensors if key not in expected)
        raise InputError(
            f"{path} does not fit the network of its own configuration ({len(wrong)} tensors missing or of another "
            f"shape, for example {example}): the file or the code was changed."
        )
    network.load_state_dict(tensors)
    return network.eval()
