"""The CRF-evaluation callback: refines every prediction of validation and test and scores it beside the network's own.

The CRF works in processes of its own while the network goes on with the next picture; where the network is on a GPU it
works there, on a batch of pictures at a time.
"""

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from deeplab.crf.batches import CRFBatches
from deeplab.crf.dense_crf import DenseCRF
from deeplab.crf.params import CRFParams
from deeplab.crf.unary import as_scores
from deeplab.crf.workers import CRFWorkers, default_num_workers
from deeplab.metrics.confusion import ConfusionMatrix
from deeplab.training.module import log_scores

log = logging.getLogger(__name__)

Refined = Callable[[str, np.ndarray, np.ndarray], None]


class CRFEvaluation(pl.Callback):
    """Logs `val/miou_crf` and `val/iou_crf/<class>`; for tests it hands every refined label map on.

    Args:
        params, backend: the CRF.
        workers: processes; None takes the machine's cores divided by the ranks on it. On a GPU there are none.
        num_threads: threads a process.
        every_n_validations: refine in every n-th validation only (tests always refine).
        first_n: refine the first n pictures of a validation only, or None for all (tests refine all).
        max_pixels: larger pictures keep the network's own prediction, with a message.
        on_refined: called with (id, refined labels, truth), each (H, W), in the pictures' order.

    `took_part` says whether the last validation was refined; `num_skipped` is the number of pictures over `max_pixels`
    in the last evaluation, of all ranks.
    """

    def __init__(
        self,
        params: CRFParams,
        backend: str,
        class_names: list[str],
        workers: int | None = None,
        num_threads: int = 1,
        every_n_validations: int = 1,
        first_n: int | None = None,
        max_pixels: int = 4_000_000,
        on_refined: Refined | None = None,
    ) -> None:
        self.params = params
        self.backend = backend
        self.class_names = class_names
        self.workers = workers
        self.num_threads = num_threads
        self.every_n_validations = every_n_validations
        self.first_n = first_n
        self.max_pixels = max_pixels
        self.on_refined = on_refined
        self.validations = 0
        self.num_skipped = 0
        self.took_part = False
        self.confusion = ConfusionMatrix(len(class_names))
        self._pool: CRFWorkers | CRFBatches | None = None
        self._waiting: deque[tuple[str, Tensor, Future[Any]]] = deque()

    # Validation

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._active():
            self._start(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        limit = self.first_n if self.first_n is not None else float("inf")
        if self._active() and batch_idx * trainer.world_size + trainer.global_rank < limit:
            self._refine(outputs, batch)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.took_part = self._active()
        if self.took_part:
            self._finish(trainer)
            log_scores(pl_module, self.confusion, self.class_names, "_crf")
        self.validations += 1

    def _active(self) -> bool:
        return self.validations % self.every_n_validations == 0

    # Test

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start(trainer, pl_module)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._refine(outputs, batch)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._finish(trainer)

    # Both

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validations = state_dict["validations"]

    def _start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.confusion = self.confusion.to(pl_module.device)
        self.confusion.reset()
        self.num_skipped = 0
        if self._pool is None:
            self._pool = self._new_pool(trainer, pl_module.device)

    def _new_pool(self, trainer: pl.Trainer, device: torch.device) -> CRFWorkers | CRFBatches:
        if self.backend == "cuda" or (self.backend == "auto" and device.type == "cuda"):
            return CRFBatches(DenseCRF(self.params, self.backend))
        ranks_here = max(1, trainer.world_size // max(1, trainer.num_nodes))
        workers = self.workers or max(1, default_num_workers() // (ranks_here * self.num_threads))
        return CRFWorkers(self.params, self.backend, workers, self.num_threads)

    def _refine(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> None:
        assert self._pool is not None
        label = batch["label"]
        if label.numel() > self.max_pixels or "probabilities" not in outputs:
            self.num_skipped += 1
            if self.num_skipped == 1:
                log.warning(
                    "%s, like other pictures of more than crf.max_pixels=%d pixels, is left as the network predicts it",
                    batch["id"],
                    self.max_pixels,
                )
            future: Future[Any] = Future()
            future.set_result(outputs["prediction"])
        elif isinstance(self._pool, CRFBatches):
            scores = as_scores(outputs["probabilities"].float(), self.params.unary)
            future = self._pool.submit(scores, batch["image"])
        else:
            scores = as_scores(outputs["probabilities"].float().cpu().numpy(), self.params.unary)
            future = self._pool.submit(scores, batch["image"].cpu().numpy())
        self._waiting.append((batch["id"], label, future))
        while self._waiting and self._waiting[0][2].done():
            self._collect()

    def _finish(self, trainer: pl.Trainer) -> None:
        if isinstance(self._pool, CRFBatches):
            self._pool.flush()
        while self._waiting:
            self._collect()
        skipped = torch.tensor(self.num_skipped, device=trainer.strategy.root_device)
        self.num_skipped = int(trainer.strategy.reduce(skipped, reduce_op="sum"))

    def _collect(self) -> None:
        identifier, label, future = self._waiting.popleft()
        refined = torch.as_tensor(future.result())
        self.confusion.update(refined.to(label.device, torch.int64), label)
        if self.on_refined is not None:
            self.on_refined(identifier, refined.cpu().numpy(), label.cpu().numpy())

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._close(cancel=False)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close(cancel=True)

    def _close(self, cancel: bool) -> None:
        self._waiting.clear()
        if self._pool is not None:
            self._pool.close(cancel)
            self._pool = None
