"""Scores a network on a split: metrics.json, per_picture.npz, prediction files, side-by-side sheets.

Runs in Lightning's test loop, with the same steps and the same CRF callback as validation.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch

from deeplab.metrics.confusion import confusion_matrix
from deeplab.reporting.predictions import write_label_map
from deeplab.reporting.sheets import write_sheet

LabelMap = npt.NDArray[Any]


@dataclass
class _Picture:
    """What is kept of a picture until its sheet is drawn."""

    image: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.uint8]
    prediction: LabelMap


@dataclass
class EvaluationFiles(pl.Callback):
    """Collects the confusion matrix of every picture, and writes predictions and sheets as they come.

    `confusion` and `confusion_crf` map ids to (K, K) matrices; after the test, on rank 0, those of all ranks.
    """

    folder: Path
    class_names: list[str]
    palette: list[tuple[int, int, int]]
    with_crf: bool
    save_predictions: bool = True
    num_pictures: int = 12
    confusion: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    confusion_crf: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    seconds: float = 0.0
    _start: float = 0.0
    _sheets: dict[str, _Picture] = field(default_factory=dict)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = time.perf_counter()

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
        self.confusion[identifier] = confusion_matrix(prediction, truth, len(self.class_names))
        if self.save_predictions:
            write_label_map(self.folder / "predictions" / f"{identifier}.png", prediction, self.palette)
        if batch_idx * trainer.world_size + trainer.global_rank < self.num_pictures:
            self._sheets[identifier] = _Picture(batch["image"].cpu().numpy(), truth, prediction)
            if not self.with_crf:
                self._draw(identifier, None)

    def add_refined(self, identifier: str, refined: LabelMap, truth: npt.NDArray[np.uint8]) -> None:
        """Take a picture after the CRF, both (H, W)."""
        self.confusion_crf[identifier] = confusion_matrix(refined, truth, len(self.class_names))
        if self.save_predictions:
            write_label_map(self.folder / "predictions_crf" / f"{identifier}.png", refined, self.palette)
        if identifier in self._sheets:
            self._draw(identifier, refined)

    def _draw(self, identifier: str, refined: LabelMap | None) -> None:
        picture = self._sheets.pop(identifier)
        path = self.folder / "pictures" / f"{identifier}.png"
        write_sheet(
            path, picture.image, picture.truth, picture.prediction, refined, self.class_names, self.palette
        )

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.world_size > 1:
            self.confusion = _union(self.confusion, trainer.world_size)
            self.confusion_crf = _union(self.confusion_crf, trainer.world_size)
        self.seconds = time.perf_counter() - self._start


def _union(mine: dict[str, npt.NDArray[np.int64]], world_size: int) -> dict[str, npt.NDArray[np.int64]]:
    """The dictionaries of all ranks in one, in the order of the ids."""
    every: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(every, mine)
    return dict(sorted(pair for each in every for pair in each.items()))
