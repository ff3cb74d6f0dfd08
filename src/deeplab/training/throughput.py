"""Images a second, data wait and memory: what a run costs."""

import resource
import sys
import time
from typing import TYPE_CHECKING, Any, cast

import pytorch_lightning as pl
import torch

from deeplab.training.progress import is_logged

if TYPE_CHECKING:
    from deeplab.training.module import SegmentationModule


class Throughput(pl.Callback):
    """Logs `train/images_per_second`, over all ranks, `train/data_wait`, the share of time spent waiting for data, and
    `train/peak_memory` in bytes.

    The first is a moving mean, the second covers the steps since the last logged one; time in validation does not
    count. `images_per_second` holds the mean over the run without its first `warm_up` steps.
    """

    def __init__(self, global_batch_size: int, warm_up: int = 5) -> None:
        self.global_batch_size = global_batch_size
        self.warm_up = warm_up
        self.steps = 0
        self.seconds = 0.0
        self.recent = 0.0
        self._waited = 0.0
        self._passed = 0.0
        self._start: float | None = None
        self._end: float | None = None

    @property
    def images_per_second(self) -> float | None:
        """Mean over the counted steps, or None before there are any."""
        return self.steps * self.global_batch_size / self.seconds if self.seconds else None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        if self._end is not None and self._start is not None:
            whole = now - self._end
            self.recent = 0.9 * self.recent + 0.1 * whole if self.recent else whole
            self._waited += self._start - self._end
            self._passed += whole
            if self.warm_up > 0:
                self.warm_up -= 1
            else:
                self.steps += 1
                self.seconds += whole
        self._end = now
        if self._passed and is_logged(trainer):
            row = cast("SegmentationModule", pl_module).row
            row["train/images_per_second"] = self.global_batch_size / self.recent
            row["train/data_wait"] = self._waited / self._passed
            row["train/peak_memory"] = float(peak_memory(pl_module.device))
            self._waited = self._passed = 0.0


def peak_memory(device: torch.device) -> int:
    """Most bytes held so far: allocated on a GPU, resident in this process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
