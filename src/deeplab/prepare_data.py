"""`deeplab data prepare`: bring a data set's files to their places and make its masks."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)


def prepare_data(config: "DictConfig", folder: Path) -> None:
    """Download, unpack and convert what is missing; a second run does nothing."""
    from deeplab.config.preflight import to_plain
    from deeplab.config.processes import worker_count
    from deeplab.data.palette import class_palette
    from deeplab.errors import InputError

    own = to_plain(config)
    data = own["data"]
    try:
        from deeplab.preparation.masks import MaskWriter
        from deeplab.preparation.obtaining import Obtaining
        from deeplab.preparation.prepare import prepare, recipe
    except ModuleNotFoundError as error:
        raise InputError(
            f"The package {error.name} is not installed; install the extra: pip install -c constraints.txt '.[data]'."
        ) from error
    if own["workers"] is not None and own["workers"] < 1:
        raise InputError(f"workers={own['workers']}: it must be at least 1, or null for one a core.")
    archives = [own["archives"]] if isinstance(own["archives"], str) else own["archives"]
    obtain = Obtaining(
        Path(own["root"]).expanduser(),
        [Path(each).expanduser() for each in archives],
        own["download"],
        own["mirror"],
    )
    palette = class_palette(data["palette"], len(data["class_names"]))
    workers = worker_count("workers", own["workers"])
    steps = recipe(data["name"], data["class_names"])
    for sentence in prepare(steps, obtain, MaskWriter(palette, own["overwrite"], workers)):
        log.info("%s", sentence)


def main() -> None:
    """Entry point."""
    from deeplab.config.launch import run

    run("data prepare", prepare_data)


if __name__ == "__main__":
    main()
