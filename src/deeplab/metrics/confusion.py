"""The confusion matrix, from which every score is derived."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

VOID = 255


def confusion(prediction: Tensor, label: Tensor, num_classes: int) -> Tensor:
    """Count the pixels of each pair of classes, int64 (K, K), rows = truth, columns = prediction.

    `prediction` and `label` are integers of one shape, any number of axes. Pixels labelled 255 are left out, whatever
    was predicted there.

    Raises ValueError for different shapes, types that are not integers, a label outside 0..K-1 and 255, or a
    prediction outside 0..K-1 where there is a label; the message names the value.
    """
    if prediction.shape != label.shape:
        raise ValueError(f"Prediction {tuple(prediction.shape)} and label {tuple(label.shape)} differ in shape.")
    # One table of all pairs of bytes: void and out-of-range values need no mask, they fall into other rows or columns.
    pairs = _bytes(label, "label").to(torch.int32) * 256 + _bytes(prediction, "prediction")
    table = torch.bincount(pairs.flatten(), minlength=256 * 256).view(256, 256)
    _refuse_outside(table[num_classes:VOID].sum(1), num_classes, "label", f"0..{num_classes - 1} and {VOID} (void)")
    _refuse_outside(table[:VOID, num_classes:].sum(0), num_classes, "prediction", f"0..{num_classes - 1}")
    matrix = table[:num_classes, :num_classes].clone()
    if num_classes > VOID:
        matrix[VOID] = 0
    return matrix


def _bytes(values: Tensor, what: str) -> Tensor:
    if values.dtype == torch.uint8:
        return values
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ValueError(f"The {what} must hold integers, got {values.dtype}.")
    if values.numel() and (values.min() < 0 or values.max() > 255):
        outside = values[(values < 0) | (values > 255)].flatten()[0]
        raise ValueError(f"The {what} holds the value {int(outside)}, which is no class.")
    return values.to(torch.uint8)


def _refuse_outside(counts: Tensor, first: int, what: str, allowed: str) -> None:
    if counts.any():
        value = first + int(counts.nonzero()[0])
        raise ValueError(
            f"The {what} holds the value {value} at {int(counts[value - first])} pixels; allowed are {allowed}."
        )


class ConfusionMatrix(Metric):
    """Confusion matrix over all pictures and all processes: int64 (K, K), rows = truth, columns = prediction.

    Sums over processes; every picture must be counted by one of them only. `latest` holds the counts of the last
    update alone, for records a picture.

    Raises ValueError for `num_classes` outside 1..256, and as `confusion` does.
    """

    is_differentiable = False
    full_state_update = False
    matrix: Tensor

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 1 <= num_classes <= 256:
            raise ValueError(f"num_classes={num_classes}: must be 1 to 256, labels are bytes.")
        self.num_classes = num_classes
        self.latest = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.add_state("matrix", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Count one picture's or batch's pixels."""
        self.latest = confusion(prediction, label, self.num_classes)
        self.matrix += self.latest.to(self.matrix.device)

    def compute(self) -> Tensor:
        """Return the matrix."""
        return self.matrix
