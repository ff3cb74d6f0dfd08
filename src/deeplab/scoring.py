"""Score a network on a split and write what a run's folder holds: shared by `deeplab train` and `deeplab evaluate`."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
from rich.console import Console

from deeplab.config.build import build_crf_evaluation, build_trainer
from deeplab.config.same import what_is_the_same
from deeplab.data.module import SegmentationData
from deeplab.errors import InputError
from deeplab.metrics.sparse_counts import SparseCounts
from deeplab.reporting.boundary import PLOT, boundary_document, write_boundary_plot
from deeplab.reporting.first_process import is_first_process
from deeplab.reporting.run_files import METRICS, PER_PICTURE, metrics_document, write_json, write_per_picture
from deeplab.reporting.tables import result_table
from deeplab.training.evaluation import EvaluationFiles
from deeplab.training.leaving import LeaveBetweenBatches, Leaving
from deeplab.training.module import SegmentationModule
from deeplab.training.ranks import Ranks

log = logging.getLogger(__name__)

Plain = dict[str, Any]


def score(
    config: Plain,
    module: SegmentationModule,
    data: SegmentationData,
    split: str,
    folder: Path,
    skip_unreadable: bool = False,
    *,
    leaving: Leaving,
    ranks: Ranks,
) -> Plain | None:
    """Evaluate `split` before and after the CRF; write metrics.json and what lies beside it, print the table.

    Returns what metrics.json holds; None on other ranks than the first.

    Raises InputError for a picture that cannot be read; with `skip_unreadable` only if none can.
    """
    start = time.perf_counter()
    discard_scores(folder)
    names = config["data"]["class_names"]
    files = EvaluationFiles(
        folder,
        names,
        data.palette,
        with_crf=config["crf"]["backend"] != "none",
        save_predictions=config["save_predictions"],
        num_pictures=config["num_pictures"],
        void_outlines=data.void_outlines,
    )
    crf = build_crf_evaluation(config["crf"], names, on_refined=files.add_refined)
    callbacks: list[pl.Callback] = [LeaveBetweenBatches(leaving), files, *([crf] if crf else [])]
    trainer = build_trainer(
        config["trainer"], callbacks, loggers=False, folder=folder, ranks=ranks, same=what_is_the_same(config)
    )
    # Only once the trainer has started the other processes does the data know which pictures are this one's.
    data.test_split, data.skip_unreadable = split, skip_unreadable
    trainer.test(module, datamodule=data, verbose=False)
    if not trainer.is_global_zero:
        return None
    _check_any_read(files.confusion, split)
    ids, before = list(files.confusion), list(files.confusion.values())
    after = [files.confusion_crf[name] for name in ids] if files.with_crf else None
    document = metrics_document(
        _sum(before),
        None if after is None else _sum(after),
        class_names=names,
        num_images=len(ids),
        num_skipped=len(data.test_pictures(split)) - len(ids),
        num_crf_skipped=0 if crf is None else crf.num_skipped,
        config=config,
        seconds=round(time.perf_counter() - start, 2),
        paper=config["paper"],
        boundary=boundary_document(files.boundary, files.boundary_crf if files.with_crf else None, names),
        split=split,
    )
    title = f"{config['name']}: {config['data']['name']} {split}"
    write_per_picture(folder / PER_PICTURE, ids, before, after)
    write_json(folder / METRICS, document)
    write_boundary_plot(folder / PLOT, document, title)
    _tell_of_earlier(folder, files)
    Console().print(result_table(document, title))
    log.info("Everything lies in %s", folder)
    return document


def discard_scores(folder: Path) -> None:
    """Remove the numbers of an earlier evaluation, which would pass for those of one that ends early."""
    if is_first_process():
        for name in (METRICS, PER_PICTURE, PLOT):
            (folder / name).unlink(missing_ok=True)


def _tell_of_earlier(folder: Path, files: EvaluationFiles) -> None:
    """Say how many predictions in the folder are not of this evaluation: another split's may lie there."""
    for name, ids in (("predictions", files.confusion), ("predictions_crf", files.confusion_crf)):
        place = folder / name
        made = {f"{each}.png" for each in ids} if files.save_predictions else set()
        others = sum(path.relative_to(place).as_posix() not in made for path in place.rglob("*.png"))
        if others:
            log.warning("%s also holds pictures that this evaluation did not make: %d", place, others)


def _sum(matrices: Sequence[SparseCounts]) -> npt.NDArray[np.int64]:
    """Add the matrices up one by one, so that one of them at a time is whole."""
    total = np.zeros(matrices[0].shape, np.int64)
    for matrix in matrices:
        total += np.asarray(matrix)
    return total


def _check_any_read(confusion: Mapping[str, Any], split: str) -> None:
    if not confusion:
        raise InputError(f"split {split}: none of its pictures can be read; see the warnings above, check data.root.")
