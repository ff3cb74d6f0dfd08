"""A loss that is not finite: looked at at once on the CPU, one step late on a GPU."""

import math

import pytest
import torch

from deeplab.training.finite_loss import FiniteLoss, LossNotFinite

NEEDS_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_on_the_cpu_at_once(bad: float) -> None:
    losses = FiniteLoss()
    losses.watch(torch.tensor(1.0), 0, lambda: ["a"])
    with pytest.raises(LossNotFinite, match="step 1") as error:
        losses.watch(torch.tensor(bad), 1, lambda: ["b"])
    assert error.value.ids == ["b"]
    losses.settle()


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=NEEDS_GPU)])
@pytest.mark.parametrize("settles", [False, True], ids=["next step", "settle"])
def test_on_a_gpu_one_step_late(device: str, settles: bool) -> None:
    losses = FiniteLoss()
    losses.watch(torch.tensor(1.0, device=device), 0, lambda: ["a"])
    losses.watch(torch.tensor(math.nan, device=device), 1, lambda: ["b"])
    with pytest.raises(LossNotFinite, match="step 1") as error:
        losses.settle() if settles else losses.watch(torch.tensor(1.0, device=device), 2, lambda: ["c"])
    assert error.value.ids == ["b"]
    losses.settle()


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=NEEDS_GPU)])
def test_on_a_gpu_no_step_is_waited_for(device: str) -> None:
    losses, loss = FiniteLoss(), torch.tensor(1.0, device=device)
    losses.watch(loss, 0, list)
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses.watch(loss, 1, list)
    finally:
        torch.cuda.set_sync_debug_mode("default")
