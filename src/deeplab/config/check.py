"""What can be known to be wrong in a configuration before any work."""

import logging
import math
from typing import Any

import torch

from deeplab.config.preflight import preflight
from deeplab.errors import InputError
from deeplab.models.deeplab import DeepLab
from deeplab.models.multi_scale import MultiScale

log = logging.getLogger(__name__)
Plain = dict[str, Any]
GIVEN_LATER = {
    "model.head": {"in_channels", "num_classes"},
    "optim.optimizer": {"params"},
    "logger": {"folder", "config"},
}
AT_LEAST = {
    "seed": 0,
    "num_pictures": 0,
    "first_n": 1,
    "data.batch_size_per_device": 1,
    "optim.lr": 0,
    "optim.weight_decay": 0,
    "optim.multipliers.backbone_weight": 0,
    "optim.multipliers.backbone_bias": 0,
    "optim.multipliers.head_weight": 0,
    "optim.multipliers.head_bias": 0,
    "optim.max_steps": 1,
    "optim.global_batch_size": 1,
    "optim.loss_group": 1,
    "crf.max_pixels": 0,
    "crf.workers": 1,
    "crf.num_threads": 1,
    "crf.every_n_validations": 1,
    "crf.first_n": 1,
    "trainer.num_nodes": 1,
    "trainer.num_threads": 1,
    "trainer.log_every_n_steps": 1,
    "trainer.val_every_n_steps": 1,
    "trainer.checkpoint_every_n_steps": 1,
    "trainer.start_timeout": 1,
    "trainer.timeout": 1,
    "trainer.lost_after": 5,
}
# What Lightning refuses once training has begun, as it does not step the optimizer.
NOT_AN_OPTION = {
    "accumulate_grad_batches": "optim.global_batch_size, of which data.batch_size_per_device go at once",
    "gradient_clip_val": "optim.gradient_clip",
}
AT_MOST = {"trainer.num_threads": 1024, "optim.lr": 1e30}


def check(config: Plain) -> None:
    """Check a training configuration; raises InputError."""
    preflight(config, GIVEN_LATER)
    check_numbers(config)
    batch, group = config["optim"]["global_batch_size"], config["optim"]["loss_group"]
    if batch % group:
        divisors = [n for n in range(1, batch + 1) if batch % n == 0]
        raise InputError(
            f"optim.loss_group={group} does not divide optim.global_batch_size={batch}; choose one of {divisors}."
        )
    if config["seed"] >= 2**32:
        raise InputError(f"seed={config['seed']}: it must be less than 2**32.")
    for key, remedy in NOT_AN_OPTION.items():
        if key in config["trainer"]["options"]:
            raise InputError(f"trainer.options.{key}: the optimizer is stepped by this code; set {remedy}.")
    clip = config["optim"]["gradient_clip"]
    if clip is not None and clip <= 0:
        raise InputError(f"optim.gradient_clip={clip}: it must be above 0, or null for gradients as they are.")
    if config["evaluate"] not in ("best", "last", "none"):
        raise InputError(f"evaluate={config['evaluate']}: choose best, last or none.")
    if config["trainer"]["if_checkpoint_fails"] not in ("stop", "go_on"):
        raise InputError(
            f"trainer.if_checkpoint_fails={config['trainer']['if_checkpoint_fails']}: choose stop or go_on."
        )
    check_data_section(config["data"])
    if not isinstance(config["paper"], dict | None):
        raise InputError(f"paper={config['paper']}: give the paper's numbers as {{table: '3', miou: 0.6896}}, or null.")
    _check_class_weights(config["optim"].get("class_weights"), config["data"]["class_names"])
    check_device(config["trainer"])
    _check_monitors(config)


def _check_class_weights(weights: list[float] | None, class_names: list[str]) -> None:
    if weights is None:
        return
    if len(weights) != len(class_names):
        raise InputError(
            f"optim.class_weights={weights}: give one number for each of the {len(class_names)} classes, in the order "
            "of data.class_names."
        )
    if not all(0 <= each < math.inf for each in weights) or not any(weights):
        raise InputError(f"optim.class_weights={weights}: give finite numbers of at least 0, not all of them 0.")


def check_data_section(data: Plain) -> None:
    """Raise InputError for class names that are none, and for a data set without a layout."""
    for name in data["class_names"]:
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"data.class_names: {name!r} is no name; give each class a text.")
        if name in ("True", "False"):
            raise InputError(
                f"data.class_names: {name} is what YAML makes of yes, no, on, off, true and false; put such a name in "
                "quotes."
            )
    if not isinstance(data["layout"], dict):
        raise InputError(f"data.layout={data['layout']}: it says how the files lie; choose a data set by data=.")


def check_numbers(config: Plain) -> None:
    """Raise InputError for a number that is too small or too large; null, where it is allowed, is no number."""
    for key, least in AT_LEAST.items():
        value = _value(config, key)
        if value is not None and value < least:
            raise InputError(f"{key}={value}: it must be at least {least}.")
    for key, most in AT_MOST.items():
        value = _value(config, key)
        if value is not None and value > most:
            raise InputError(f"{key}={value}: it must be at most {most}.")


def _value(config: Plain, key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def check_crop(config: Plain, network: DeepLab | MultiScale) -> None:
    """Raise InputError for a crop whose labels cannot be subsampled exactly to the logits' positions."""
    crop, multiple = config["data"]["crop_size"], network.size_multiple
    if crop < 2 or (crop - 1) % multiple:
        below = max(1, (crop - 1) // multiple) * multiple + 1
        raise InputError(
            f"data.crop_size={crop} is not a multiple of {multiple} plus 1, which this network's grid needs; the "
            f"nearest are {below} or {below + multiple}."
        )


def check_device(trainer: Plain) -> None:
    """Raise InputError when a GPU is asked for and there is none, or what only a GPU can do without one.

    Warns of bfloat16 on a processor for which oneDNN has no bfloat16 kernels, as those with AVX2 alone.
    """
    if trainer["accelerator"] in ("gpu", "cuda") and not torch.cuda.is_available():
        raise InputError(
            f"trainer.accelerator={trainer['accelerator']}: this machine has no GPU that torch {torch.__version__} can "
            "use; take trainer=cpu."
        )
    on_cpu = trainer["accelerator"] == "cpu" or not torch.cuda.is_available()
    if on_cpu and trainer["precision"] == "16-mixed":
        raise InputError(
            "trainer.precision=16-mixed needs a GPU (its losses are scaled there); take 32-true or bf16-mixed."
        )
    if on_cpu and trainer["precision"] == "bf16-mixed" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        log.warning(
            "trainer.precision=bf16-mixed: torch has no fast bfloat16 on this processor, where a step may take several "
            "times as long; trainer.precision=32-true is faster here."
        )


def _check_monitors(config: Plain) -> None:
    """Refuse a callback that watches the validation of a run without one: it would fail after the first epoch."""
    every, steps = config["trainer"]["val_every_n_steps"], config["optim"]["max_steps"]
    for name, callback in (config["callbacks"] or {}).items():
        watched = str(callback.get("monitor", ""))
        if watched.startswith("val/") and (every is None or every > steps):
            raise InputError(
                f"callbacks.{name} watches {watched}, but this run has no validation (trainer.val_every_n_steps="
                f"{every}, optim.max_steps={steps}); validate more often or leave the callback out."
            )
