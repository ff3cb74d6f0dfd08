"""What a run says of its batch, and which global batches are refused."""

import re
from typing import Any

import pytest

from deeplab.config.effective_batch import effective_batch
from deeplab.errors import InputError


def config(batch: int = 10, group: int = 1, per_device: int = 4) -> dict[str, Any]:
    multipliers = {"backbone_weight": 1.0, "backbone_bias": 2.0, "head_weight": 10.0, "head_bias": 20.0}
    optim = {"global_batch_size": batch, "loss_group": group, "lr": 1e-3, "multipliers": multipliers}
    return {"optim": optim, "data": {"batch_size_per_device": per_device}, "trainer": {"accelerator": "cpu"}}


@pytest.mark.parametrize(
    ("processes", "per_device", "text"),
    [
        (1, 10, "1 process x 10, in 1 forward pass of 10"),
        (1, 4, "1 process x 10, in 3 forward passes of 4, the last of 2"),
        (2, 8, "2 processes x 5, in 1 forward pass of 5"),
        (5, 1, "5 processes x 2, in 2 forward passes of 1"),
    ],
)
def test_the_shares(processes: int, per_device: int, text: str) -> None:
    stated = effective_batch(config(per_device=per_device), processes, trains_batch_norm=False)
    assert stated.startswith(f"10 pictures a step: {text}")
    assert "learning rate 0.001, by parameter group 0.001, 0.002, 0.01, 0.02" in stated


@pytest.mark.parametrize(
    ("batch", "group", "processes", "nearest"),
    [(10, 1, 4, "8 and 12"), (10, 10, 4, "20"), (3, 1, 4, "4"), (10, 5, 3, "15"), (50, 10, 4, "40 and 60")],
)
def test_a_batch_that_does_not_divide(batch: int, group: int, processes: int, nearest: str) -> None:
    with pytest.raises(InputError, match=rf"{batch} does not divide among {processes}.* {nearest}\.$") as caught:
        effective_batch(config(batch, group), processes, trains_batch_norm=False)
    for number in re.findall(r"\d+", nearest):
        assert int(number) % processes == int(number) % group == 0
    assert "optim.global_batch_size" in str(caught.value)


def test_what_trained_batch_normalisation_means_on_the_cpu() -> None:
    assert "Batch normalisation" in effective_batch(config(), 2, trains_batch_norm=True)
    assert "Batch normalisation" not in effective_batch(config(), 1, trains_batch_norm=True)
