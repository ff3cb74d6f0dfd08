"""What scoring a network writes beside the numbers: prediction files, side-by-side pictures, a matrix a picture.

Runs in Lightning's test loop, with the same steps and the same CRF callback as validation.
"""

from pathlib import Path
from typing import Any

import numpy.typing as npt
import pytorch_lightning as pl
import torch

from deeplab.metrics.boundary import BoundaryTally
from deeplab.metrics.confusion import confusion
from deeplab.metrics.sparse_counts import SparseCounts
from deeplab.reporting.palette import Palette
from deeplab.reporting.predictions import write_labels
from deeplab.reporting.sheets import Row, sheet
from deeplab.reporting.writing import replacing

LabelMap = npt.NDArray[Any]
Matrices = dict[str, SparseCounts]
TITLES = ("image", "truth", "prediction", "after the CRF")


class EvaluationFiles(pl.Callback):
    """Collects the confusion matrix of every picture, and writes predictions and side-by-side pictures as they come.

    `confusion` and `confusion_crf` map ids to (K, K) matrices, of which the cells that are not 0 are kept, so that
    many pictures fit; `boundary` and `boundary_crf` hold the counts near boundaries; after the test those of all ranks.

    Args:
        folder: gets `predictions/`, `predictions_crf/` and `pictures/`.
        with_crf: whether `add_refined` will be called for every picture.
        save_predictions: write the two prediction folders.
        num_pictures: how many pictures, from the first, are drawn side by side.
        void_outlines: whether the truth's void outlines objects, see `BoundaryTally`.
    """

    def __init__(
        self,
        folder: Path,
        class_names: list[str],
        palette: Palette,
        with_crf: bool,
        save_predictions: bool = True,
        num_pictures: int = 12,
        void_outlines: bool = False,
    ) -> None:
        self.folder = folder
        self.class_names = class_names
        self.palette = palette
        self.with_crf = with_crf
        self.save_predictions = save_predictions
        self.num_pictures = num_pictures
        self.confusion: Matrices = {}
        self.confusion_crf: Matrices = {}
        self.boundary = BoundaryTally(len(class_names), void_outlines)
        self.boundary_crf = BoundaryTally(len(class_names), void_outlines)
        self._waiting: dict[str, Row] = {}

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        identifier, truth = batch["id"], batch["label"].cpu().numpy()
        prediction = outputs["prediction"].cpu().numpy()
        self.confusion[identifier] = self._matrix(prediction, truth)
        self.boundary.add(prediction, truth)
        if self.save_predictions:
            write_labels(self.folder / "predictions" / f"{identifier}.png", prediction, self.palette)
        if batch_idx * trainer.world_size + trainer.global_rank < self.num_pictures:
            row = Row(batch["image"].cpu().numpy(), [truth, prediction], identifier)
            if self.with_crf:
                self._waiting[identifier] = row
            else:
                self._draw(row, TITLES[:3])

    def add_refined(self, identifier: str, refined: LabelMap, truth: LabelMap) -> None:
        """Take a picture's labels after the CRF, and its truth, both (H, W)."""
        self.confusion_crf[identifier] = self._matrix(refined, truth)
        self.boundary_crf.add(refined, truth)
        if self.save_predictions:
            write_labels(self.folder / "predictions_crf" / f"{identifier}.png", refined, self.palette)
        if identifier in self._waiting:
            row = self._waiting.pop(identifier)
            self._draw(Row(row.image, [*row.labels, refined], row.caption), TITLES)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.world_size > 1:
            self.confusion = _union(self.confusion, trainer.world_size)
            self.confusion_crf = _union(self.confusion_crf, trainer.world_size)
            for tally in (self.boundary, self.boundary_crf):
                _add_other_ranks(tally, trainer.world_size, trainer.global_rank)

    def _matrix(self, prediction: LabelMap, truth: LabelMap) -> SparseCounts:
        matrix = confusion(torch.from_numpy(prediction), torch.from_numpy(truth), len(self.class_names))
        return SparseCounts(matrix.numpy())

    def _draw(self, row: Row, titles: tuple[str, ...]) -> None:
        with replacing(self.folder / "pictures" / f"{row.caption}.png") as file:
            sheet([row], self.class_names, titles, self.palette).save(file, format="PNG")


def _union(mine: Matrices, world_size: int) -> Matrices:
    """The dictionaries of all ranks in one, in the order of the ids."""
    every: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(every, mine)
    return dict(sorted(pair for each in every for pair in each.items()))


def _add_other_ranks(tally: BoundaryTally, world_size: int, rank: int) -> None:
    every: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(every, tally)
    for number, other in enumerate(every):
        if number != rank:
            tally.merge(other)
