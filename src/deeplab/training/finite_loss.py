"""Stops a training whose loss is NaN or infinite, without having the GPU wait for the look at it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


class LossNotFinite(RuntimeError):  # noqa: N818 - it says what happened
    """The loss became NaN or infinite; `ids` names the pictures of the global batch."""

    def __init__(self, step: int, ids: list[str]) -> None:
        super().__init__(f"The loss is not finite at step {step}.")
        self.step = step
        self.ids = ids


@dataclass
class _Seen:
    """A loss on its way to the host."""

    loss: Tensor
    copied: torch.cuda.Event
    step: int
    ids: Callable[[], list[str]]


class FiniteLoss:
    """Looks at the loss of each step; raises LossNotFinite.

    On the CPU it looks at once, before the weights change. On a GPU that would keep the device idle until the next
    step's work arrives, so a loss is looked at when the step after it has been queued: `settle` has to be called before
    the weights are kept or used for anything else, for they may have taken a step by then that was none.
    """

    def __init__(self) -> None:
        self._seen: _Seen | None = None

    def watch(self, loss: Tensor, step: int, ids: Callable[[], list[str]]) -> None:
        """Look at this loss, a scalar, or queue that and look at the one before.

        `ids` names the global batch's pictures; it is called on all ranks or none, where the loss is that of all.
        """
        if not loss.is_cuda:
            if not torch.isfinite(loss):
                raise LossNotFinite(step, ids())
            return
        self.settle()
        on_host = torch.empty((), dtype=loss.dtype, pin_memory=True).copy_(loss, non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record()
        self._seen = _Seen(on_host, copied, step, ids)

    def settle(self) -> None:
        """Look at the last loss if that was put off."""
        seen, self._seen = self._seen, None
        if seen is not None:
            seen.copied.synchronize()
            if not math.isfinite(float(seen.loss)):
                raise LossNotFinite(seen.step, seen.ids())
