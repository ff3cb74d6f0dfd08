"""Softmax cross-entropy at the logits' resolution on subsampled labels (section 4, "Training")."""

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE = 255


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


def valid_pixels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixels of each picture that are not void at the logits' positions: labels (B, H, W) -> (B,)."""
    return (subsample_labels(labels, size) != IGNORE).sum(dim=(-2, -1))


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Sum over pictures of weight x summed cross-entropy; logits (B, K, h, w), labels (B, H, W), weights (B,).

    Computed in float32 or wider whatever the logits' type; void pixels (255) count nothing.
    """
    target = subsample_labels(labels, (logits.shape[-2], logits.shape[-1]))
    wide = logits if logits.dtype == torch.float64 else logits.float()
    each = F.cross_entropy(wide, target, ignore_index=IGNORE, reduction="none").sum(dim=(-2, -1))
    return (each * weights.to(each)).sum()
