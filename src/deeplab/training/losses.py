"""Softmax cross-entropy at the logits' resolution on subsampled labels (section 4, "Training")."""

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE = 255
SHRINKING = ("subsample", "nearest")


def subsample_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels (B, H, W) at the logits' positions: (B, h, w), every s-th pixel from the first.

    On sizes H = s*k + 1 these are exactly the positions that the logits stand for; nothing is interpolated.

    Raises ValueError when (H, W) is not on the grid of (h, w).
    """
    steps = []
    for full, small in zip(labels.shape[-2:], size, strict=True):
        step = (full - 1) // (small - 1) if small > 1 else full
        if small > 1 and step * (small - 1) != full - 1:
            raise ValueError(f"Labels of {full} pixels have no exact grid of {small}; use a crop size of s*k + 1.")
        steps.append(step)
    return labels[..., :: steps[0], :: steps[1]]


def nearest_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels (B, H, W) under the centres of (h, w) equal cells, as Pillow's nearest resize takes them.

    kazuto1011/deeplab-pytorch's way, for any size; from 321 to 41 the positions differ from the logits' by up to 3
    pixels.
    """
    rows, columns = (
        ((torch.arange(small, dtype=torch.float64, device=labels.device) + 0.5) * (full / small)).long()
        for full, small in zip(labels.shape[-2:], size, strict=True)
    )
    return labels[..., rows[:, None], columns]


def shrink_labels(labels: Tensor, size: tuple[int, int], shrinking: str = "subsample") -> Tensor:
    """Labels (B, H, W) at the logits' size, by `subsample_labels` ("subsample") or `nearest_labels` ("nearest")."""
    return nearest_labels(labels, size) if shrinking == "nearest" else subsample_labels(labels, size)


def loss_pixels(
    labels: Tensor, size: tuple[int, int], shrinking: str = "subsample", class_weights: Tensor | None = None
) -> Tensor:
    """What each picture's loss is divided by: labels (B, H, W) -> (B,).

    The pixels that are not void at the logits' positions, each counted with the weight of its class (K,) where there
    are such weights.
    """
    target = shrink_labels(labels, size, shrinking)
    if class_weights is None:
        return (target != IGNORE).sum(dim=(-2, -1))
    by_label = class_weights.new_zeros(IGNORE + 1)
    by_label[: len(class_weights)] = class_weights
    return by_label[target.long()].sum(dim=(-2, -1))


def divided_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    divisors: Tensor,
    shrinking: str = "subsample",
    class_weights: Tensor | None = None,
) -> Tensor:
    """Sum over pictures of summed cross-entropy / divisor; logits (B, K, h, w), labels (B, H, W), divisors (B,).

    Computed in float32 or wider whatever the logits' type; void pixels (255) count nothing, the others once or by the
    weight of their class (K,).
    """
    target = shrink_labels(labels, (logits.shape[-2], logits.shape[-1]), shrinking)
    wide = logits if logits.dtype == torch.float64 else logits.float()
    by_class = None if class_weights is None else class_weights.to(wide)
    each = F.cross_entropy(wide, target, by_class, ignore_index=IGNORE, reduction="none").sum(dim=(-2, -1))
    return (each / divisors).sum()
