"""Checkpoints: `best.ckpt` by val/miou, `last.ckpt` and the one before it, from which a run goes on."""

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn

from deeplab.errors import InputError, Preempted
from deeplab.models.checkpoint_file import damage
from deeplab.reporting.run_files import BEST, LAST, PREVIOUS
from deeplab.training.checkpoint_writing import WholeFiles, remove_parts
from deeplab.training.module import SegmentationModule

log = logging.getLogger(__name__)


class LastCheckpoint(Checkpoint):
    """Writes `last.ckpt` every n optimizer steps (None: not on the way), before a validation, and at the end.

    Where a validation follows the step of a checkpoint that is due, it is written once more after the validation,
    which is then not run again by a run that resumes from it, and after `best.ckpt`, of whose score it knows; a run
    that resumes from the one before the validation starts with the validation. (Lightning calls callbacks that are a
    `Checkpoint` after all others.)

    If the ranks agreed to leave (`SegmentationModule.leave`), it writes a checkpoint and raises Preempted.
    """

    def __init__(self, folder: Path, every_n_steps: int | None, files: WholeFiles) -> None:
        self.path = folder / LAST
        self.every_n_steps = every_n_steps
        self._files = files
        self._saved_at = -1
        self._validates_next = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        trainer.strategy.checkpoint_io = self._files
        if trainer.is_global_zero:
            remove_parts(self.path.parent)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self._files.check()
        if _validation_follows(trainer):
            return
        leaves = isinstance(pl_module, SegmentationModule) and pl_module.leave
        if leaves or self._is_due(trainer):
            self._save(trainer)
        if leaves:
            raise self._left(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        # Lightning would not go on with a training that has taken all its steps: no checkpoint, then, between the
        # last step and its validation.
        if trainer.global_step < trainer.max_steps:
            self._validates_next = True
            trainer.save_checkpoint(self.path, weights_only=False)
            self._validates_next = False
        if isinstance(pl_module, SegmentationModule) and pl_module.leave:
            raise self._left(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._validates_next:
            # As if one picture had been begun: by this Lightning knows that a validation was broken off.
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            for count in (progress["total"], progress["current"]):
                count["ready"] += 1
                count["started"] += 1

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and self._is_due(trainer):
            self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer)
        self._files.finish()
        trainer.strategy.barrier("the last checkpoint is written")

    def _left(self, trainer: pl.Trainer) -> Preempted:
        return Preempted(
            f"Left as asked after step {trainer.global_step} of {trainer.max_steps}; deeplab train "
            f"resume={self.path.parent.parent} goes on from there."
        )

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


def checkpoint_callbacks(
    folder: Path, every_n_steps: int | None, files: WholeFiles | None = None
) -> tuple[ModelCheckpoint, LastCheckpoint]:
    """The two callbacks that write `best.ckpt` and `last.ckpt` into `folder`; in a list of callbacks in this order."""
    best = ModelCheckpoint(
        dirpath=folder,
        filename=Path(BEST).stem,
        monitor="val/miou",
        mode="max",
        save_top_k=1,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
        auto_insert_metric_name=False,
    )
    return best, LastCheckpoint(folder, every_n_steps, files or WholeFiles())


def newest_checkpoint(folder: Path) -> Path | None:
    """`last.ckpt`, or `previous.ckpt` with a warning where the last is damaged; None where there is neither.

    Raises InputError if all that is there is damaged.
    """
    found = [path for path in (folder / LAST, folder / PREVIOUS) if path.exists()]
    faults: list[str] = []
    for path in found:
        fault = damage(path)
        if fault is None:
            if faults:
                log.warning("%s; going on from the one before it, %s", faults[0], path)
            return path
        faults.append(f"{path} is damaged ({fault})")
    if faults:
        raise InputError(f"resume: {' and '.join(faults)}; there is no older one, so start anew (resume=null).")
    return None
