"""DeepLab as a LightningModule: network, losses of every scale, optimizer, schedule, validation at full resolution.

One `training_step` is one optimizer step over this rank's share of the global batch, run in micro-batches: the valid
pixels of every loss group are counted before the first of them, so that neither the size of a micro-batch nor the
number of ranks changes the loss (Caffe's iter_size sums micro-batches that are normalised one by one).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial, reduce
from typing import Any, TypeAlias

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from deeplab.inference.probabilities import Inference
from deeplab.metrics.confusion import ConfusionMatrix
from deeplab.metrics.scores import scores
from deeplab.models.checkpoint_file import CHECKPOINT_KEY
from deeplab.models.deeplab import DeepLab
from deeplab.models.multi_scale import MultiScale
from deeplab.training.batch_norm import freeze_batch_norms, hold_statistics
from deeplab.training.finite_loss import FiniteLoss
from deeplab.training.losses import SHRINKING, divided_cross_entropy, loss_pixels
from deeplab.training.parameter_groups import classifiers, parameter_groups
from deeplab.training.progress import is_logged

Batch: TypeAlias = dict[str, Any]
Losses: TypeAlias = dict[str, Tensor]
Micro: TypeAlias = tuple[slice, AbstractContextManager[Any]]


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
        label_shrinking: how labels come to the logits' size, "subsample" or "nearest" (`deeplab.training.losses`).
        fc_rate: whose learning rates fc6 and fc7 have, the "head"'s or the "backbone"'s.
        class_weights: what a pixel of each class counts in the loss; None: all the same.

    `leave` is set on any rank that is asked to leave; after the next training step it is set on all of them.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        network: DeepLab | MultiScale,
        inference: Inference,
        class_names: list[str],
        optimizer: Callable[..., Optimizer],
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
        label_shrinking: str = "subsample",
        fc_rate: str = "head",
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if label_shrinking not in SHRINKING:
            raise ValueError(f"label_shrinking={label_shrinking!r}: choose one of {', '.join(SHRINKING)}.")
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
        self.label_shrinking = label_shrinking
        if fc_rate not in ("head", "backbone"):
            raise ValueError(f"fc_rate={fc_rate!r}: choose head or backbone.")
        self.fc_rate = fc_rate
        # Not in checkpoints: it belongs to the training, not to the network.
        weights = None if class_weights is None else torch.tensor(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)
        self.confusion = ConfusionMatrix(len(class_names))
        self.leave = False
        self.row: dict[str, Tensor | float] = {}
        """What is logged of the step just taken, by name; empty after the others."""
        self._clipped_norm: Tensor | None = None
        self._configured: list[dict[str, Any]] = []  # the optimizer's groups without their parameters
        self._finite = FiniteLoss()
        if freeze_bn:
            freeze_batch_norms(network)

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the hook it is in, thirty times a step; torch would look whether that is a parameter.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def train(self, mode: bool = True) -> "SegmentationModule":
        """Switch the mode, but leave frozen batch normalisation in evaluation mode."""
        super().train(mode)
        if self.freeze_bn:
            hold_statistics(self.network)
        return self

    def configure_optimizers(self) -> Any:
        head = classifiers(self.network.head) if self.fc_rate == "backbone" else self.network.head
        groups = parameter_groups(self.network, head, self.lr, self.weight_decay, self.multipliers)
        optimizer = self.make_optimizer(groups, lr=self.lr)
        # A function, for of an object LambdaLR would store the values and load those of the checkpoint.
        scheduler = LambdaLR(optimizer, lambda step: self.schedule(step))
        self._configured = [{key: group[key] for key in group if key != "params"} for group in optimizer.param_groups]
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    # Training

    def on_train_start(self) -> None:
        """Give the optimizer the configuration's values: a checkpoint brings those of the run that wrote it."""
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer) and isinstance(scheduler, LambdaLR)
        scheduler.base_lrs = [configured["initial_lr"] for configured in self._configured]
        factor = self.schedule(scheduler.last_epoch)
        for group, configured in zip(optimizer.optimizer.param_groups, self._configured, strict=True):
            group.update(configured, lr=configured["initial_lr"] * factor)
        scheduler._last_lr = [group["lr"] for group in optimizer.optimizer.param_groups]

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer) and isinstance(scheduler, LambdaLR)
        optimizer.zero_grad()
        losses = self._backward(batch)
        if self.trainer.world_size > 1:
            losses = self._summed(losses)
        total = _total(losses)
        self._finite.watch(total, self.global_step, partial(self._ids_of_all_ranks, list(batch["id"])))
        optimizer.step()
        if is_logged(self.trainer):
            self._note_training(total, losses, optimizer.optimizer)
        scheduler.step()

    def _summed(self, losses: Losses) -> Losses:
        """The losses over all ranks; in the same exchange the ranks agree whether to leave after this step."""
        leave = torch.tensor(float(self.leave), device=self.device)
        both = torch.stack([*losses.values(), leave])
        torch.distributed.all_reduce(both)
        self.leave = bool(both[-1] > 0)
        return dict(zip(losses, both[:-1], strict=True))

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if self.gradient_clip is not None:
            self._clipped_norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.gradient_clip)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Hand `row`, to which callbacks may have added, to the loggers, if there is one of this step.

        In one call, for Lightning's `log` takes half a millisecond for each of a good dozen values.
        """
        row, self.row = self.row, {}
        if row:
            tensors = {name: value.double() for name, value in row.items() if isinstance(value, Tensor)}
            values = dict(zip(tensors, torch.stack(list(tensors.values())).tolist(), strict=True))  # one wait
            numbers = {name: values[name] if name in values else float(value) for name, value in row.items()}
            # For callbacks that watch one, as values given to `log` are.
            self.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in numbers.items()})
            for logger in self.trainer.loggers:
                # Lightning names a step by the number of steps before it.
                logger.log_metrics({"epoch": self.current_epoch, **numbers}, step=self.global_step - 1)
                logger.save()

    def _gradient_norm(self) -> Tensor:
        """The norm of the gradients of the step just taken, as they were before clipping."""
        if self._clipped_norm is not None:
            return self._clipped_norm
        gradients = [each.grad for each in self.network.parameters() if each.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)

    def _backward(self, batch: Batch) -> Losses:
        """Gradients of the global batch's loss; returns this rank's share of each loss."""
        image, label = batch["image"], batch["label"]
        divisors: Losses = {}
        sums: Losses = {}
        for part, context in self._micro_batches(len(label)):
            with context:
                logits = self.network.scale_logits(image[part])
                # Lightning's autocast is about all of `training_step`; backward, it would have every bias's gradient
                # summed in another type and cast back.
                with torch.autocast(image.device.type, enabled=False):
                    divisors = divisors or self._loss_divisors(logits, label)
                    losses = {
                        name: divided_cross_entropy(
                            each, label[part], divisors[name][part], self.label_shrinking, self.class_weights
                        )
                        for name, each in logits.items()
                    }
                    self.manual_backward(self._for_this_rank(_total(losses)))
            for name, loss in losses.items():
                sums[name] = sums[name] + loss.detach() if name in sums else loss.detach()
        return sums

    def _for_this_rank(self, loss: Tensor) -> Tensor:
        """DistributedDataParallel averages over the ranks, and these are shares of one sum."""
        return loss if self.trainer.world_size == 1 else loss * self.trainer.world_size

    def _micro_batches(self, pictures: int) -> Iterator[Micro]:
        """Slices of the rank's share; gradients are exchanged between ranks in the last one only."""
        wrapper = self.trainer.strategy.model
        for start in range(0, pictures, self.batch_size_per_device):
            stop = start + self.batch_size_per_device
            context: AbstractContextManager[Any] = nullcontext()
            if isinstance(wrapper, nn.parallel.DistributedDataParallel) and stop < pictures:
                context = wrapper.no_sync()
            yield slice(start, stop), context

    def _loss_divisors(self, logits: Losses, label: Tensor) -> Losses:
        """What each picture of this rank's share is divided by, by prediction: groups x the group's `loss_pixels`."""
        pixels = {
            name: loss_pixels(label, (each.shape[-2], each.shape[-1]), self.label_shrinking, self.class_weights)
            for name, each in logits.items()
        }
        mine = slice(0, len(label))
        if self.trainer.world_size > 1:
            pixels, mine = self._of_all_ranks(pixels)
        divisors = {}
        for name, each in pixels.items():
            groups = each.view(-1, self.loss_group)
            # A group of void alone has a loss of 0, whatever that is divided by.
            least = torch.finfo(each.dtype).tiny if each.is_floating_point() else 1
            divisor = (groups.sum(-1, keepdim=True) * len(groups)).clamp(min=least).float()
            divisors[name] = divisor.expand_as(groups).reshape(-1)[mine]
        return divisors

    def _of_all_ranks(self, pixels: Losses) -> tuple[Losses, slice]:
        """A value a picture of the global batch, by prediction, in one exchange; and which pictures are this rank's."""
        own = torch.stack(list(pixels.values()))
        share = own.shape[1]
        mine = slice(self.trainer.global_rank * share, (self.trainer.global_rank + 1) * share)
        every = own.new_zeros(len(own), share * self.trainer.world_size)
        every[:, mine] = own
        torch.distributed.all_reduce(every)
        return dict(zip(pixels, every, strict=True)), mine

    def _ids_of_all_ranks(self, mine: list[str]) -> list[str]:
        ids = [mine]
        if self.trainer.world_size > 1:
            ids = ids * self.trainer.world_size
            torch.distributed.all_gather_object(ids, mine)
        return [each for rank in ids for each in rank]

    def on_train_end(self) -> None:
        self._finite.settle()

    def _note_training(self, total: Tensor, losses: Losses, optimizer: Optimizer) -> None:
        self.row = {"train/loss": total}
        self.row |= {f"train/loss_{name}": value for name, value in losses.items()}
        self.row |= {f"train/lr/{group['name']}": group["lr"] for group in optimizer.param_groups}
        self.row["train/grad_norm"] = self._gradient_norm()

    # Validation and test: one picture a step, any size

    def on_validation_start(self) -> None:
        self._finite.settle()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        if batch["label"].numel() > self.max_probability_pixels:
            outputs = {"prediction": self.inference.labels(self.network, batch["image"])}
        else:
            probabilities = self.inference.probabilities(self.network, batch["image"])
            # max, not argmax: three times as fast on a CPU along the first axis.
            outputs = {"probabilities": probabilities, "prediction": probabilities.max(dim=0).indices}
        self.confusion.update(outputs["prediction"], batch["label"])
        return outputs

    def on_validation_epoch_end(self) -> None:
        log_scores(self, self.confusion, self.class_names)
        self.confusion.reset()

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        return self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        self.confusion.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._finite.settle()
        checkpoint[CHECKPOINT_KEY] = self.record


def _total(losses: Losses) -> Tensor:
    return reduce(torch.add, losses.values())


def log_scores(
    module: pl.LightningModule, confusion: ConfusionMatrix, class_names: list[str], suffix: str = ""
) -> None:
    """Log `val/miou`, `val/pixel_accuracy` and `val/iou/<class>`, each with the suffix, of a matrix over all ranks.

    NaN where nothing was labelled; classes that occur nowhere have no value.
    """
    result = scores(confusion.compute())
    for name in ("miou", "pixel_accuracy"):
        value = result[name]
        # Equal on every rank, and a maximum of equals is exact.
        module.log(
            f"val/{name}{suffix}",
            float("nan") if value is None else value,
            prog_bar=name == "miou",
            sync_dist=True,
            reduce_fx="max",
        )
    for name, iou in zip(class_names, result["iou"], strict=True):
        if iou is not None:
            module.log(f"val/iou{suffix}/{name}", iou, sync_dist=True, reduce_fx="max")
