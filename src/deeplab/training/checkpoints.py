"""Checkpoints: `best.ckpt` by val/miou and `last.ckpt`, written whole or not at all."""

import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn

from deeplab.errors import InputError


class WholeFiles(TorchCheckpointIO):
    """Writes beside the checkpoint's place, to the disk, and then renames.

    Lightning writes into the system's temporary folder, which may be another disk or memory, and moves it from there.

    Raises InputError where the place cannot be written or the disk is full.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        place = Path(path)
        try:
            self._write(checkpoint, place)
        except (OSError, RuntimeError) as error:
            # A full disk ends torch.save with an error of its own, raised while it handles the system's.
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(cause, OSError):
                raise
            raise InputError(
                f"{place}: the checkpoint cannot be written ({cause.strerror}); free the disk, or choose another "
                "place by hydra.run.dir."
            ) from error

    def _write(self, checkpoint: dict[str, Any], place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.name}.part")
        try:
            with part.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)


class LastCheckpoint(Checkpoint):
    """Writes `last.ckpt` every n optimizer steps (None: not on the way) and at the end of training.

    Where a validation follows the step, it is written after the validation, which is then not run twice or left out
    by a run that resumes from it, and after `best.ckpt`, of whose score it knows. (Lightning calls callbacks that are
    a `Checkpoint` after all others.)
    """

    def __init__(self, folder: Path, every_n_steps: int | None) -> None:
        self.path = folder / "last.ckpt"
        self.every_n_steps = every_n_steps
        self._saved_at = -1

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        trainer.strategy.checkpoint_io = WholeFiles()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if self._is_due(trainer) and not _validation_follows(trainer):
            self._save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and self._is_due(trainer):
            self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer)

    def _is_due(self, trainer: pl.Trainer) -> bool:
        return self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0

    def _save(self, trainer: pl.Trainer) -> None:
        if trainer.global_step != self._saved_at:
            self._saved_at = trainer.global_step
            trainer.save_checkpoint(self.path, weights_only=False)


def _validation_follows(trainer: pl.Trainer) -> bool:
    """Whether this training step is one after which Lightning validates, if it does so every so many steps."""
    every = trainer.val_check_batch
    if trainer.check_val_every_n_epoch is not None or not isinstance(every, int) or not trainer.enable_validation:
        return False
    return (trainer.fit_loop.total_batch_idx + 1) % every == 0


def checkpoint_callbacks(folder: Path, every_n_steps: int | None) -> tuple[ModelCheckpoint, LastCheckpoint]:
    """The two callbacks that write `best.ckpt` and `last.ckpt` into `folder`; in a list of callbacks in this order."""
    best = ModelCheckpoint(
        dirpath=folder,
        filename="best",
        monitor="val/miou",
        mode="max",
        save_top_k=1,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
        auto_insert_metric_name=False,
    )
    return best, LastCheckpoint(folder, every_n_steps)
