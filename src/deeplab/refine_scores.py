"""`deeplab crf`: refine the class scores that any network left in files."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)


def refine_scores(config: "DictConfig", folder: Path) -> None:
    """Refine the scores of every photo of `images` into `output`; ends with status 1 if one could not be read."""
    from contextlib import nullcontext

    from deeplab.config.build_crf import build_crf_params, build_dense_crf
    from deeplab.config.preflight import to_plain
    from deeplab.config.processes import worker_count
    from deeplab.crf.workers import CRFWorkers
    from deeplab.data.palette import class_palette
    from deeplab.data.reading import read_picture
    from deeplab.errors import InputError
    from deeplab.inference.score_files import KINDS
    from deeplab.refine_files import refine

    own = to_plain(config)
    if own["crf"]["max_pixels"] < 0:
        raise InputError(f"crf.max_pixels={own['crf']['max_pixels']}: it must be at least 0.")
    if own["kind"] not in (None, *KINDS):
        raise InputError(f"kind={own['kind']}: choose {' or '.join(KINDS)}.")
    palette = own["palette"]
    colours = class_palette(palette, 0 if isinstance(palette, str) else len(palette), "palette")
    crf = own["crf"]
    params, dense = build_crf_params(crf), build_dense_crf(crf)
    try:
        workers = worker_count("crf.workers", crf["workers"])
        pool = None if dense is None else CRFWorkers(params, dense.backend, workers, crf["num_threads"])
    except ValueError as error:
        raise InputError(f"crf: {error}") from error
    with pool or nullcontext():
        outcome = refine(
            pool,
            Path(own["images"]).expanduser(),
            Path(own["probs"]).expanduser(),
            Path(own["output"]).expanduser(),
            colours,
            read_picture=read_picture,
            unary=params.unary,
            kind=own["kind"],
            align_corners=own["align_corners"],
            max_crf_pixels=crf["max_pixels"],
        )
    log.info("%s", outcome.sentence())
    if outcome.exit_code:
        sys.exit(outcome.exit_code)


def main() -> None:
    """Entry point."""
    from deeplab.config.launch import run

    run("crf", refine_scores)


if __name__ == "__main__":
    main()
