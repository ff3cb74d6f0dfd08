"""Progress on a terminal as a bar, in a log file as lines."""

import logging
import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import RichProgressBarTheme

log = logging.getLogger(__name__)


def is_logged(trainer: pl.Trainer) -> bool:
    """Whether the optimizer step just taken is one of which something is logged or shown."""
    step = trainer.global_step
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return step % every == 0 or step == trainer.max_steps


def of_the_step(module: pl.LightningModule) -> dict[str, float]:
    """What is shown of the step just taken: loss, learning rate of the first group, images a second.

    Empty after steps of which nothing is logged. It is read from what is logged anyway (`SegmentationModule.row`), for
    Lightning's `log` takes a millisecond a value; a GPU's work is waited for.
    """
    row: dict[str, Any] = getattr(module, "row", {})
    rates = [name for name in row if name.startswith("train/lr/")][:1]
    named = {"train/loss": "train/loss", **dict.fromkeys(rates, "lr"), "train/images_per_second": "img/s"}
    return {shown: float(row[name]) for name, shown in named.items() if name in row}


def progress_display(every_n_steps: int) -> pl.Callback:
    """Rich's bar where a person watches, else a line every `every_n_steps` optimizer steps (at most one in 10 s)."""
    return Bar() if sys.stdout.isatty() else ProgressLines(every_n_steps)


class Bar(RichProgressBar):
    """Rich's bar, one over all optimizer steps: a training is measured in steps, and epochs may be many and short.

    It reads the metrics, for which a GPU's work has to be waited for, after the steps that log some.
    """

    def __init__(self) -> None:
        # Lightning's three decimals would make 0.000 of most learning rates.
        super().__init__(theme=RichProgressBarTheme(metrics_format=".4g"))
        self._step: dict[str, float] = {}

    @property
    def total_train_batches(self) -> int:
        """The steps of the whole training."""
        return int(self.trainer.max_steps)

    def _get_train_description(self, current_epoch: int) -> str:
        return f"{'Training':{len(self.validation_description)}}"  # as wide as the other, or the bars flicker

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.train_progress_bar_id is None:  # else Lightning's would begin anew, and with it the time left
            super().on_train_epoch_start(trainer, pl_module)
            self._update(self.train_progress_bar_id, trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, trainer.global_step - 1)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        self._step = of_the_step(pl_module) or self._step
        return {**self._step, **super().get_metrics(trainer, pl_module)}


class ProgressLines(pl.Callback):
    """Logs step, loss, learning rate, images a second, and each validation's mIoU."""

    def __init__(self, every_n_steps: int, seconds: float = 10.0) -> None:
        self.every_n_steps = every_n_steps
        self.seconds = seconds
        self._last = 0.0
        self._step: dict[str, float] = {}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now, step = time.monotonic(), trainer.global_step
        due = step % self.every_n_steps == 0 and now - self._last >= self.seconds
        if trainer.is_global_zero and (due or step == trainer.max_steps):
            self._last = now
            self._step = of_the_step(pl_module) or self._step
            metrics = {**self._step, **trainer.progress_bar_metrics}
            shown = " ".join(f"{name} {float(value):.4g}" for name, value in metrics.items())
            log.info("step %d/%d %s", step, trainer.max_steps, shown)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = trainer.callback_metrics
        if trainer.is_global_zero and "val/miou" in metrics:
            crf = f", after the CRF {float(metrics['val/miou_crf']):.4f}" if "val/miou_crf" in metrics else ""
            log.info("step %d: validation mIoU %.4f%s", trainer.global_step, float(metrics["val/miou"]), crf)
