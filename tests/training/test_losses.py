import pytest
import torch
from torch.nn import functional as F

from deeplab.training.losses import divided_cross_entropy, loss_pixels, subsample_labels


@pytest.mark.parametrize(
    ("full", "small", "step"), [(321, 41, 8), (513, 65, 8), (321, 21, 16), (257, 17, 16), (9, 9, 1)]
)
def test_labels_are_taken_at_the_logits_positions(full: int, small: int, step: int) -> None:
    labels = torch.arange(full * full).view(1, full, full)
    subsampled = subsample_labels(labels, (small, small))
    rows = torch.arange(small) * step
    assert torch.equal(subsampled[0], labels[0][rows][:, rows])


def test_a_single_logit_stands_for_the_first_pixel() -> None:
    labels = torch.arange(8).view(1, 1, 8)
    assert subsample_labels(labels, (1, 1)).tolist() == [[[0]]]


def test_off_grid_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="crop size of s\\*k \\+ 1"):
        subsample_labels(torch.zeros(1, 320, 320), (41, 41))


def test_divided_cross_entropy_is_the_sum_of_each_picture_s_share() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 3, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 5, (3, 17, 17), generator=generator)
    labels[:, 4:9] = 255
    divisors = torch.tensor([0.5, 2.0, 1000.0])
    expected = 0.0
    for i in range(3):
        for y in range(3):
            for x in range(3):
                label = int(labels[i, 8 * y, 8 * x])
                if label != 255:
                    expected -= float(torch.log_softmax(logits[i, :, y, x], 0)[label]) / float(divisors[i])
    assert divided_cross_entropy(logits, labels, divisors).item() == pytest.approx(expected, rel=1e-12)


def test_a_picture_of_void_alone_costs_nothing() -> None:
    labels = torch.full((1, 9, 9), 255)
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = divided_cross_entropy(logits, labels, torch.ones(1))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))
    assert loss_pixels(labels, (2, 2)).tolist() == [0]


def test_low_precision_logits_are_widened() -> None:
    logits = torch.randn(1, 3, 2, 2)
    labels = torch.zeros(1, 9, 9, dtype=torch.int64)
    low = divided_cross_entropy(logits.bfloat16(), labels, torch.ones(1))
    assert low.dtype == torch.float32
    expected = F.cross_entropy(logits.bfloat16().float(), torch.zeros(1, 2, 2, dtype=torch.int64), reduction="sum")
    assert low.item() == pytest.approx(expected.item(), rel=1e-6)


def test_class_weights_are_those_of_torch() -> None:
    """One group of all pictures: torch's own weighted mean, its divisor included."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 3, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 5, (3, 17, 17), generator=generator)
    labels[:, 4:9] = 255
    weights = torch.tensor([0.5, 2.0, 0.0, 1.0, 30.0])
    divisor = loss_pixels(labels, (3, 3), class_weights=weights)
    each = divisor.sum().expand(3)
    found = divided_cross_entropy(logits, labels, each, class_weights=weights)
    expected = F.cross_entropy(logits, labels[:, ::8, ::8], weights.double(), ignore_index=255)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_equal_class_weights_count_pixels() -> None:
    labels = torch.randint(0, 5, (2, 17, 17), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    labels[0, ::2] = 255
    counted = loss_pixels(labels, (3, 3), class_weights=torch.ones(5))
    assert counted.tolist() == loss_pixels(labels, (3, 3)).tolist() == [0, 9]
