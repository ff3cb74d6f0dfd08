"""`deeplab weights convert SOURCE TARGET`: a weight file of any known layout in this project's names."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)


def convert_weights(config: "DictConfig", folder: Path) -> None:
    """Write `target`, whole or not at all, and say what became of the tensors of `source`."""
    import torch

    from deeplab.config.preflight import to_plain
    from deeplab.errors import InputError
    from deeplab.initial_weights import check_published
    from deeplab.models.conversion import convert
    from deeplab.models.weight_file import read_weight_file
    from deeplab.reporting.writing import replacing

    own = to_plain(config)
    source, target = (Path(own[key]).expanduser() for key in ("source", "target"))
    if source.exists() and target.exists() and source.samefile(target):
        raise InputError(f"target: {target} is the source; give another place.")
    for key in ("kernel_size", "hidden_channels"):
        if own[key] is not None and own[key] < 1:
            raise InputError(f"{key}={own[key]}: it must be at least 1.")
    check_published(source)
    try:
        file = read_weight_file(source)
        result = convert(file, own["allow"], own["kernel_size"], own["hidden_channels"], own["seed"])
    except ValueError as error:
        raise InputError(f"source: {error}") from error
    with replacing(target) as stream:
        torch.save(result.content, stream)
    told = {True: "the 1x1", False: "the 3x3", None: "not told"}
    log.info("%s (%s)", source, file.layout.name)
    log.info("sha256: %s", file.sha256)
    log.info("matched: %d tensors", len(result.tensors))
    log.info("skipped: %d%s", len(result.skipped), _listed(result.skipped))
    log.info("missing, and random when loaded: %d%s", len(result.missing), _listed(result.missing))
    log.info("input: %s", file.convention or "not told by the file: model.input decides")
    if file.stride_in_1x1 is not None:
        log.info("strides of ResNet: in %s convolutions", told[file.stride_in_1x1])
    for note in result.notes:
        log.warning("%s.", note)
    log.info("written: %s", target)


def _listed(names: tuple[str, ...]) -> str:
    return f" ({', '.join(names)})" if names else ""


def named(arguments: list[str]) -> list[str]:
    """Turn the first two arguments that are no overrides and no options into `source=` and `target=`.

    A path may hold `=`: only the command's own keys and Hydra's make an override.
    """
    keys = ("source=", "target=", "allow=", "kernel_size=", "hidden_channels=", "seed=", "hydra", "+", "~hydra")
    places = [key for key in ("source", "target") if not any(each.startswith(f"{key}=") for each in arguments)]
    result = []
    for argument in arguments:
        if places and not argument.startswith(("-", *keys)):
            argument = f"{places.pop(0)}={argument}"
        result.append(argument)
    return result


def main() -> None:
    """Entry point."""
    from deeplab.config.launch import run

    sys.argv[1:] = named(sys.argv[1:])
    run("weights convert", convert_weights)


if __name__ == "__main__":
    main()
