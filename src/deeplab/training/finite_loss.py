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
        self._on_host: tuple[Tensor, torch.Event] | None = None

    def watch(self, loss: Tensor, step: int, ids: Callable[[], list[str]]) -> None:
        """Look at this loss, a scalar, or queue that and look at the one before.

        `ids` names the global batch's pictures; it is called on all ranks or none, where the loss is that of all.
        """
        self.settle()
        self._seen = _Seen(*self._on_its_way(loss), step, ids)
        if not (loss.is_cuda if self._late is None else self._late):
            self.settle()

    def settle(self) -> None:
        """Look at the last loss if that was put off."""
        seen, self._seen = self._seen, None
        if seen is not None:
            seen.arrived()
            if not math.isfinite(float(seen.loss)):
                raise NonFiniteLossError(seen.step, seen.ids())

    def _on_its_way(self, loss: Tensor) -> tuple[Tensor, Callable[[], None]]:
        """Return the loss in the host's memory, and what waits until it is there; a GPU copies it among its other work.

        One place for all steps, for the loss before has been looked at.
        """
        if not loss.is_cuda:
            return loss.clone(), lambda: None
        if self._on_host is None:
            place = torch.empty((), dtype=loss.dtype, pin_memory=True)
            self._on_host = place, torch.Event(loss.device)
        place, copied = self._on_host
        place.copy_(loss.detach(), non_blocking=True)
        copied.record()
        return place, copied.synchronize
