"""What a run shows beside numbers, whatever shows it: pictures, tables of classes, the result at the end."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

from deeplab.training.crf_evaluation import CRFEvaluation
from deeplab.training.module import SegmentationModule

Labels = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.int64]
# Longest side of the pictures that are shown; files of whole ones would outgrow the checkpoints.
LONGEST_SIDE = 640


@dataclass
class ShownPicture:
    """A picture, uint8 (H, W, 3), with label maps, uint8 (H, W), 255 = void; `refined` is None without a CRF."""

    id: str
    image: npt.NDArray[np.uint8]
    truth: Labels
    prediction: Labels
    refined: Labels | None = None


class MediaLogger(Logger):
    """A logger that shows more than numbers; steps are optimizer steps done. All is called on rank 0 only."""

    num_pictures: int

    @abstractmethod
    def show_pictures(self, step: int, pictures: Sequence[ShownPicture], class_names: Sequence[str]) -> None:
        """Show validation pictures with their masks."""

    @abstractmethod
    def show_classes(self, step: int, class_names: Sequence[str], matrices: Mapping[str, Matrix]) -> None:
        """Show confusion matrices (K, K): "" before the CRF, and "_crf" after it if it ran."""

    @abstractmethod
    def show_result(self, document: Mapping[str, Any], folder: Path) -> None:
        """Show what `metrics.json` holds, and what else lies in the run's folder if that was asked for."""

    @abstractmethod
    def close(self, failed: bool) -> None:
        """End the run; nothing is shown after it."""


@contextmanager
def closing(loggers: Sequence[Logger]) -> Iterator[list[MediaLogger]]:
    """Give those of the loggers that show more than numbers, and close them, also if the block fails."""
    shown = [each for each in loggers if isinstance(each, MediaLogger)]
    failed = True
    try:
        yield shown
        failed = False
    finally:
        for each in shown:
            each.close(failed)


class ValidationMedia(pl.Callback):
    """Shows, after each validation, its first pictures with truth, prediction and what the CRF makes of it, and tables.

    Call `add_refined` for what the CRF refines; this callback stands after the CRF's.
    """

    def __init__(self, loggers: Sequence[MediaLogger], class_names: Sequence[str]) -> None:
        self.loggers = loggers
        self.class_names = class_names
        self.count = max((each.num_pictures for each in loggers), default=0)
        self._pictures: dict[str, ShownPicture] = {}
        self._early: dict[str, npt.NDArray[Any]] = {}

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._pictures, self._early = {}, {}

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.is_global_zero and len(self._pictures) < self.count:
            image, truth = batch["image"].cpu().numpy(), batch["label"].cpu().numpy()
            prediction = outputs["prediction"].cpu().numpy()
            identifier = batch["id"]
            picture = ShownPicture(identifier, _small(image, cv2.INTER_AREA), _labels(truth), _labels(prediction))
            if identifier in self._early:
                picture.refined = _labels(self._early.pop(identifier))
            self._pictures[identifier] = picture

    def add_refined(self, identifier: str, refined: npt.NDArray[Any], truth: npt.NDArray[Any]) -> None:
        """Take a picture's labels after the CRF, (H, W)."""
        if identifier in self._pictures:
            self._pictures[identifier].refined = _labels(refined)
        elif len(self._pictures) < self.count:
            self._early[identifier] = refined  # the CRF's callback stands before this one

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, SegmentationModule)
        # On all ranks, which exchange their counts here.
        matrices = {"": pl_module.confusion.compute().cpu().numpy()}
        for each in _crf(trainer):
            if each.took_part:
                matrices["_crf"] = each.confusion.compute().cpu().numpy()
        if not trainer.is_global_zero:
            return
        for logger in self.loggers:
            logger.show_classes(trainer.global_step, self.class_names, matrices)
            pictures = list(self._pictures.values())[: logger.num_pictures]
            if pictures:
                logger.show_pictures(trainer.global_step, pictures, self.class_names)


def _crf(trainer: pl.Trainer) -> Iterator[CRFEvaluation]:
    callbacks: Any = trainer.callbacks  # type: ignore[attr-defined]
    return (each for each in callbacks if isinstance(each, CRFEvaluation))


def _small(array: npt.NDArray[np.uint8], interpolation: int) -> npt.NDArray[np.uint8]:
    height, width = array.shape[:2]
    scale = LONGEST_SIDE / max(height, width)
    if scale >= 1:
        return array
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(array, size, interpolation=interpolation), dtype=np.uint8)


def _labels(labels: npt.NDArray[Any]) -> Labels:
    return _small(labels.astype(np.uint8), cv2.INTER_NEAREST)
