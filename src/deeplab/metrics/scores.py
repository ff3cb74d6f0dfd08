"""Scores from a confusion matrix, as PASCAL VOC defines them (rows = truth, columns = prediction).

Numpy only, so that reports need no torch.
"""

from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Scores(TypedDict):
    """All as fractions of 1; None where nothing can be measured."""

    miou: float | None
    iou: list[float | None]
    pixel_accuracy: float | None
    mean_accuracy: float | None


def class_counts(matrix: npt.ArrayLike) -> Floats:
    """Return what IoU needs of a matrix, pixels right and pixels in truth or prediction: (..., K, K) -> (..., 2, K).

    Both are linear in the matrix: sums over pictures of the one are the counts of the sum of the other.
    """
    counts = np.asarray(matrix, dtype=np.float64)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    return np.stack([hits, counts.sum(-1) + counts.sum(-2) - hits], axis=-2)


def iou_of_counts(counts: Floats) -> Floats:
    """Return the IoU of each class from `class_counts`: (..., 2, K) -> (..., K).

    NaN for a class that is neither in the truth nor in the prediction.
    """
    return _ratio(counts[..., 0, :], counts[..., 1, :])


def mean_over_classes(values: Floats) -> Floats:
    """Return the mean over the classes that are not NaN: (..., K) -> (...)."""
    measured = ~np.isnan(values)
    return _ratio(np.where(measured, values, 0).sum(-1), measured.sum(-1).astype(np.float64))


def class_iou(matrix: npt.ArrayLike) -> Floats:
    """Return true positives / (truth or prediction) of each class: (..., K, K) -> (..., K).

    NaN for a class that is neither in the truth nor in the prediction.
    """
    return iou_of_counts(class_counts(matrix))


def mean_iou(matrix: npt.ArrayLike) -> Floats:
    """Return the mean of `class_iou` over the classes that it can measure: (..., K, K) -> (...).

    The devkit's formula (one matrix over all pictures, background included); it divides 0 by 0 where a class is
    absent, here such a class is left out.
    """
    return mean_over_classes(class_iou(matrix))


def pixel_accuracy(matrix: npt.ArrayLike) -> Floats:
    """Return the share of pixels that are right: (..., K, K) -> (...)."""
    counts = np.asarray(matrix, dtype=np.float64)
    return _ratio(np.trace(counts, axis1=-2, axis2=-1), counts.sum((-2, -1)))


def mean_accuracy(matrix: npt.ArrayLike) -> Floats:
    """Return the mean over the classes in the truth of the share of their pixels that are right."""
    counts = np.asarray(matrix, dtype=np.float64)
    return mean_over_classes(_ratio(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1)))


def scores(matrix: Any) -> Scores:
    """Return all scores of one matrix (K, K), an array or a tensor on any device.

    Raises ValueError for another shape or negative counts.
    """
    counts = np.asarray(matrix.cpu() if hasattr(matrix, "cpu") else matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or (counts < 0).any():
        raise ValueError(f"A confusion matrix is square and holds counts, got shape {counts.shape}.")
    return Scores(
        miou=_number(mean_iou(counts)),
        iou=[_number(value) for value in class_iou(counts)],
        pixel_accuracy=_number(pixel_accuracy(counts)),
        mean_accuracy=_number(mean_accuracy(counts)),
    )


def _ratio(part: Floats, whole: Floats) -> Floats:
    # A float64 result even for one number, NaN where the whole is 0.
    ratio: Floats = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
    return ratio


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
