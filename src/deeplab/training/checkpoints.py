"""Checkpoints: `best.ckpt` by val/miou and `last.ckpt`, written whole or not at all."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint


class LastCheckpoint(pl.Callback):
    """Writes `last.ckpt` every n optimizer steps (None: not on the way) and at the end of training."""

    def __init__(self, folder: Path, every_n_steps: int | None) -> None:
        self.path = folder / "last.ckpt"
        self.every_n_steps = every_n_steps
        self._saved_at = -1

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if self.every_n_steps and trainer.global_step % self.every_n_steps == 0:
            self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        if trainer.global_step != self._saved_at:
            trainer.save_checkpoint(self.path)
            self._saved_at = trainer.global_step


def checkpoint_callbacks(folder: Path, every_n_steps: int | None) -> tuple[ModelCheckpoint, LastCheckpoint]:
    """The two callbacks that write `best.ckpt` and `last.ckpt` into `folder`."""
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
