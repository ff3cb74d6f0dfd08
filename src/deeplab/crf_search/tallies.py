"""What a picture adds to mIoU: pixels of each class that are right, that are true, and that are predicted.

The three sums over a picture's confusion matrix are all that mIoU needs of it; a tally is int64 (3, K).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

VOID = 255

Tally = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def tally(label: npt.NDArray[np.integer], prediction: npt.NDArray[np.integer], num_classes: int) -> Tally:
    """Count one picture's pixels, void (255) left out: (3, K) of hits, truth, predictions.

    Raises ValueError for other labels outside 0..K-1 and for shapes that differ.
    """
    if label.shape != prediction.shape:
        raise ValueError(f"the mask is {label.shape} and the prediction {prediction.shape}: they must be of one size")
    counted = label != VOID
    truth, predicted = label[counted].astype(np.int64), prediction[counted].astype(np.int64)
    if truth.size and truth.max() >= num_classes:
        raise ValueError(f"the mask holds label {truth.max()}, but the scores have {num_classes} classes")
    hits = truth[truth == predicted]
    return np.stack([np.bincount(each, minlength=num_classes) for each in (hits, truth, predicted)])


def mean_iou(tallies: Any) -> Floats:
    """Return mIoU over the classes in truth: (..., 3, K) -> (...); NaN where there is none.

    `deeplab evaluate` counts a class too that is nowhere in truth but somewhere in the prediction, with an IoU of 0. On
    a few pictures that would decide the search: a CRF that removes the last such pixel takes the class out of the mean.
    Where all classes occur, as in VOC's validation set, both are the same.
    """
    counts = np.asarray(tallies, dtype=np.float64)
    hits, union = counts[..., 0, :], counts[..., 1, :] + counts[..., 2, :] - counts[..., 0, :]
    present = counts[..., 1, :] > 0
    iou = np.divide(hits, union, out=np.zeros_like(hits), where=present)
    number = present.sum(-1)
    mean: Floats = np.divide(iou.sum(-1), number, out=np.full(number.shape, np.nan), where=number > 0)
    return mean
