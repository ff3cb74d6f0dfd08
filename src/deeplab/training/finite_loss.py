"""Stops a training whose loss is NaN or infinite, without having the GPU wait for the look at it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite; `ids` names the pictures of the global batch."""

    def __init__(self, step: int, ids: list[str]) -> None:
        super().__init__(f"The loss is not finite at step {step}.")
        self.step = step
        self.ids = ids


@dataclass
class _Seen:
    """A loss on its way to the host; `arrived` waits for it."""

    loss: Tensor
    arrived: Callable[[], None]
    step: int
    ids: Callable[[], list[str]]


class FiniteLoss:
    """Looks at the loss of each step; raises NonFiniteLossError.

    On the CPU it looks at once, before the weights change. On a GPU that would keep the device idle until the next
    step's work arrives, so a loss is looked at when the step after it has been queued: `settle` has to be called before
    the weights are kept or used for anything else, for they may have taken a step by then that was none.

    late: whether to look one step late; None is on a GPU alone.
    """

    def __init__(self, late: bool | None = None) -> None:
        self._late = late
        self._seen: _Seen | None = None

    def watch(self, loss: Tensor, step: int, ids: Callable[[], list[str]]) -> None:
        """Look at this loss, a scalar, or queue that and look at the one before.

        `ids` names the global batch's pictures; it is called on all ranks or none, where the loss is that of all.
        """
        self.settle()
        self._seen = _Seen(*_on_its_way(loss), step, ids)
        if not (loss.is_cuda if self._late is None else self._late):
            self.settle()

    def settle(self) -> None:
        """Look at the last loss if that was put off."""
        seen, self._seen = self._seen, None
        if seen is not None:
            seen.arrived()
            if not math.isfinite(float(seen.loss)):
                raise NonFiniteLossError(seen.step, seen.ids())


def _on_its_way(loss: Tensor) -> tuple[Tensor, Callable[[], None]]:
    """Return the loss in the host's memory, and what waits until it is there; a GPU copies it among its other work."""
    if not loss.is_cuda:
        return loss.clone(), lambda: None
    on_host = torch.empty((), dtype=loss.dtype, pin_memory=True).copy_(loss, non_blocking=True)
    copied = torch.Event(loss.device)
    copied.record()
    return on_host, copied.synchronize
