"""DeepLab as a LightningModule: network, losses of every scale, optimizer, schedule, validation at full resolution.

One `training_step` is one optimizer step over this rank's share of the global batch, run in micro-batches: the valid
pixels of every loss group are counted before the first of them, so that neither the size of a micro-batch nor the
number of ranks changes the loss (Caffe's iter_size sums micro-batches that are normalised one by one).
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from deeplab.inference.probabilities import Inference
from deeplab.metrics.confusion import ConfusionMatrix
from deeplab.metrics.scores import scores
from deeplab.training.batch_norm import freeze_batch_norms, hold_statistics
from deeplab.training.losses import valid_pixels, weighted_cross_entropy
from deeplab.training.parameter_groups import parameter_groups

CHECKPOINT_KEY = "deeplab"


class LossNotFinite(RuntimeError):
    """The loss became NaN or infinite; `ids` names the pictures of the batch."""

    def __init__(self, step: int, ids: list[str]) -> None:
        super().__init__(f"The loss is not finite at step {step}.")
        self.step = step
        self.ids = ids


class SegmentationModule(pl.LightningModule):
    """Trains and evaluates a network on samples of the DataModule.

    Args:
        network: `DeepLab` or `MultiScale`.
        inference: picture -> probabilities; the only way from a picture to a prediction.
        class_names: names by index; their number is the number of classes.
        optimizer: parameter groups -> optimizer (learning rate and decay come with the groups).
        schedule: optimizer step -> factor of the base rate.
        lr, weight_decay, multipliers: see `parameter_groups`.
        global_batch_size: pictures an optimizer step, over all ranks.
        loss_group: pictures over which a loss is a mean over valid pixels (1: the ResNet recipe's iter_size,
            10: the VGG recipe's batch).
        batch_size_per_device: pictures a forward pass.
        freeze_bn: keep batch normalisation as loaded.
        gradient_clip: largest gradient norm, or None.
        max_probability_pixels: pictures larger than this are reduced to labels tile by tile; nothing refines them.
        record: plain dict stored in every checkpoint, from which the network can be rebuilt.
    """

    def __init__(
        self,
        network: nn.Module,
        inference: Inference,
        class_names: list[str],
        optimizer: Callable[..., torch.optim.Optimizer],
        schedule: Callable[[int], float],
        lr: float,
        weight_decay: float,
        multipliers: dict[str, float],
        global_batch_size: int,
        loss_group: int,
        batch_size_per_device: int,
        freeze_bn: bool,
        gradient_clip: float | None,
        max_probability_pixels: int,
        record: dict[str, Any],
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.inference = inference
        self.class_names = class_names
        self.make_optimizer = optimizer
        self.schedule = schedule
        self.lr = lr
        self.weight_decay = weight_decay
        self.multipliers = multipliers
        self.global_batch_size = global_batch_size
        self.loss_group = loss_group
        self.batch_size_per_device = batch_size_per_device
        self.freeze_bn = freeze_bn
        self.gradient_clip = gradient_clip
        self.max_probability_pixels = max_probability_pixels
        self.record = record
        self.confusion = ConfusionMatrix(len(class_names))
        if freeze_bn:
            freeze_batch_norms(network)

    def train(self, mode: bool = True) -> "SegmentationModule":
        """Switch the mode, but leave frozen batch normalisation in evaluation mode."""
        super().train(mode)
        if self.freeze_bn:
            hold_statistics(self.network)
        return self

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(self.network, self.network.head, self.lr, self.weight_decay, self.multipliers)
        optimizer = self.make_optimizer(groups, lr=self.lr)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    # Training

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        optimizer.zero_grad()
        weights: dict[str, Tensor] = {}
        sums: dict[str, Tensor] = {}
        for part, context in self._micro_batches(len(batch["label"])):
            with context:
                logits = self.network.scale_logits(batch["image"][part])
                weights = weights or self._loss_weights(logits, batch["label"])
                losses = {
                    name: weighted_cross_entropy(each, batch["label"][part], weights[name][part])
                    for name, each in logits.items()
                }
                self.manual_backward(torch.stack(list(losses.values())).sum() * self.trainer.world_size)
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0) + loss.detach()
        total = torch.stack(list(sums.values())).sum()
        if not torch.isfinite(total):
            raise LossNotFinite(self.global_step, list(batch["id"]))
        optimizer.step()
        scheduler.step()
        self._log_losses(total, sums)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.gradient_clip)

    def _micro_batches(self, pictures: int) -> Iterator[tuple[slice, Any]]:
        """Slices of the rank's share; gradients are exchanged between ranks in the last one only."""
        wrapper = self.trainer.strategy.model
        for start in range(0, pictures, self.batch_size_per_device):
            last = start + self.batch_size_per_device >= pictures
            hold = not last and isinstance(wrapper, nn.parallel.DistributedDataParallel)
            yield slice(start, start + self.batch_size_per_device), wrapper.no_sync() if hold else nullcontext()

    def _loss_weights(self, logits: dict[str, Tensor], label: Tensor) -> dict[str, Tensor]:
        """The weight of each picture of this rank's share, by prediction: 1 / (groups x max(1, valid pixels))."""
        world, rank = self.trainer.world_size, self.trainer.global_rank
        share = len(label)
        result = {}
        for name, each in logits.items():
            every = torch.zeros(share * world, dtype=torch.float64, device=label.device)
            every[rank * share : (rank + 1) * share] = valid_pixels(label, each.shape[-2:])
            if world > 1:
                torch.distributed.all_reduce(every)
            groups = every.view(-1, self.loss_group)
            weights = 1 / (len(groups) * groups.sum(1, keepdim=True).clamp(min=1))
            result[name] = weights.expand_as(groups).reshape(-1)[rank * share : (rank + 1) * share]
        return result

    def _log_losses(self, total: Tensor, sums: dict[str, Tensor]) -> None:
        self.log("train/loss", total, prog_bar=True, sync_dist=self.trainer.world_size > 1, reduce_fx="sum")
        for name, value in sums.items():
            self.log(f"train/loss_{name}", value, sync_dist=self.trainer.world_size > 1, reduce_fx="sum")
        rates = {group["name"]: group["lr"] for group in self.optimizers().param_groups}
        for name, rate in rates.items():
            self.log(f"train/lr/{name}", rate)
        self.log("lr", next(iter(rates.values())), prog_bar=True, logger=False)

    # Validation and test: one picture a step, any size

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        if batch["label"].numel() > self.max_probability_pixels:
            outputs = {"prediction": self.inference.labels(self.network, batch["image"])}
        else:
            probabilities = self.inference.probabilities(self.network, batch["image"])
            outputs = {"probabilities": probabilities, "prediction": probabilities.argmax(0)}
        self.confusion.update(outputs["prediction"], batch["label"])
        return outputs

    def on_validation_epoch_end(self) -> None:
        result = scores(self.confusion.compute())
        self.confusion.reset()
        self.log("val/miou", result["miou"], prog_bar=True, rank_zero_only=False)
        self.log("val/pixel_accuracy", result["pixel_accuracy"])
        log_per_class(self, "val/iou", self.class_names, result["iou"])

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        return self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        self.confusion.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[CHECKPOINT_KEY] = self.record


def log_per_class(module: pl.LightningModule, prefix: str, names: list[str], values: list[float | None]) -> None:
    """Log one value a class; classes that occur nowhere have none."""
    for name, value in zip(names, values, strict=True):
        if value is not None:
            module.log(f"{prefix}/{name}", value)
