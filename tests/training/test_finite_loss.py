"""A loss that is not finite: looked at at once on the CPU, and one step late on a GPU, which waits for nothing."""

import math
from collections.abc import Iterator

import pytest
import torch

from deeplab.training.finite_loss import FiniteLoss, NonFiniteLossError

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every device there is; on a GPU whoever waits for it before its time is told by an error."""
    yield request.param
    if request.param == "cuda":
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_on_the_cpu_at_once(bad: float) -> None:
    losses = FiniteLoss()
    losses.watch(torch.tensor(1.0), 0, lambda: ["a"])
    with pytest.raises(NonFiniteLossError, match="step 1") as error:
        losses.watch(torch.tensor(bad), 1, lambda: ["b"])
    assert error.value.ids == ["b"]
    losses.settle()


@pytest.mark.parametrize("settles", [False, True], ids=["next step", "settle"])
def test_late_at_the_next_step_or_when_asked(device: str, settles: bool) -> None:
    good, bad = torch.tensor(1.0, device=device), torch.tensor(math.nan, device=device)
    losses = FiniteLoss(late=True)
    losses.watch(good, 0, lambda: ["a"])
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    losses.watch(bad, 1, lambda: ["b"])
    bad.fill_(1.0)  # later work on the device changes nothing
    with pytest.raises(NonFiniteLossError, match="step 1") as error:
        losses.settle() if settles else losses.watch(good, 2, lambda: ["c"])
    assert error.value.ids == ["b"]
    losses.settle()
