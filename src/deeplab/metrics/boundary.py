"""How good labels are near boundaries: trimap bands (section 4.1, figure 10), class-edge bands, Boundary IoU.

All distances are chessboard distances in pixels, as a dilation by squares gives them. Numpy and OpenCV only.
"""

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deeplab.metrics.scores import Floats

VOID = 255
WIDTHS = tuple(range(1, 41))  # the authors' script; the figure's axis begins at 0

Labels = npt.NDArray[np.integer[Any]]
Counts = npt.NDArray[np.int64]


def void_distance(label: Labels) -> npt.NDArray[np.uint8]:
    """Return each pixel's distance to the nearest void pixel: (H, W) -> uint8 (H, W), 0 on void, 255 for 255 and more.

    The band of width w of a trimap is 1 <= distance <= w: void dilated by a square of side 2w + 1, without the void
    itself, as in the authors' MyVOCevalsegBoundary.m. It means a boundary only where void outlines objects (VOC).
    """
    return _distance_to(label == VOID)


def edge_distance(label: Labels) -> npt.NDArray[np.uint8]:
    """Return each pixel's distance to the nearest edge between two classes: (H, W) -> uint8 (H, W).

    1 on the pixels of both sides that touch another class along a pixel's side, 2 on their neighbours, and so on; 255
    for 255 and more, or if the picture has no edge. 0 on void, which makes no edge. Not the paper's trimap: for data
    whose void outlines nothing.
    """
    edges = np.zeros(label.shape, dtype=bool)
    for one, other in ((np.s_[1:, :], np.s_[:-1, :]), (np.s_[:, 1:], np.s_[:, :-1])):
        differ = (label[one] != label[other]) & (label[one] != VOID) & (label[other] != VOID)
        edges[one] |= differ
        edges[other] |= differ
    distance = _distance_to(edges)
    np.add(distance, 1, out=distance, where=distance < 255)
    distance[label == VOID] = 0
    return distance


def _distance_to(pixels: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    if not pixels.any():
        return np.full(pixels.shape, 255, dtype=np.uint8)
    # A 3x3 mask gives chessboard distances exactly.
    distance = cv2.distanceTransform((~pixels).view(np.uint8), cv2.DIST_C, 3)
    return np.asarray(np.minimum(distance, 255), dtype=np.uint8)


def band_confusion(
    prediction: Labels, label: Labels, distance: npt.NDArray[np.uint8], num_classes: int, most: int = WIDTHS[-1]
) -> Counts:
    """Count the pixels of each pair of classes in the bands of widths 1 to `most`: int64 (most, K, K), rows = truth.

    Pixels of distance 0 and void ones are in no band. All widths come from one pass: pixels are counted by their
    distance, and the counts summed up.
    """
    counted = (distance >= 1) & (distance <= most) & (label != VOID)
    rings = distance[counted].astype(np.int64) - 1
    pairs = (rings * num_classes + label[counted]) * num_classes + prediction[counted]
    counts = np.bincount(pairs, minlength=most * num_classes**2).reshape(most, num_classes, num_classes)
    return np.cumsum(counts, axis=0, dtype=np.int64)


def inner_boundary(label: Labels, width: int) -> npt.NDArray[np.bool_]:
    """Return which pixels lie within `width` pixels of another value or of the picture's rim: (H, W) -> bool (H, W).

    For each class its mask without the mask eroded `width` times by 3x3 (Cheng et al. 2021, Boundary IoU).
    """
    # A window holds one value only if its least equals its largest; the ring around the picture is a value of its own.
    ringed = cv2.copyMakeBorder(label.astype(np.int16), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=-1)
    square = np.ones((2 * width + 1, 2 * width + 1), dtype=np.uint8)
    differs = cv2.erode(ringed, square) != cv2.dilate(ringed, square)
    return np.asarray(differs[1:-1, 1:-1], dtype=bool)


def boundary_counts(prediction: Labels, label: Labels, num_classes: int, share: float = 0.02) -> Counts:
    """Count what Boundary IoU divides: int64 (K, 2), pixels of each class in the intersection and in the union.

    The regions are the parts of truth and prediction within `share` of the picture's diagonal of their own outlines
    (0.02 in Cheng et al. 2021, at least a pixel). Void belongs to neither. Sum over pictures before you divide.
    """
    width = max(1, round(share * float(np.hypot(*label.shape))))
    known = label != VOID
    none = label.dtype.type(num_classes)  # bytes stay bytes: pictures may be large
    truth = np.where(inner_boundary(label, width) & known, label, none)
    found = np.where(inner_boundary(prediction, width) & known, prediction, none)
    both = np.where(truth == found, truth, none)
    in_truth, in_found, in_both = (
        np.bincount(each.ravel(), minlength=num_classes + 1)[:num_classes] for each in (truth, found, both)
    )
    return np.stack([in_both, in_truth + in_found - in_both], axis=1).astype(np.int64)


def boundary_iou(counts: npt.ArrayLike) -> Floats:
    """Return each class's Boundary IoU from summed counts: (..., K, 2) -> (..., K), NaN where the union is empty."""
    summed = np.asarray(counts, dtype=np.float64)
    ratio: Floats = np.divide(
        summed[..., 0], summed[..., 1], out=np.full(summed.shape[:-1], np.nan), where=summed[..., 1] > 0
    )
    return ratio


@dataclass
class BoundaryTally:
    """What near-boundary scores are made of, summed over pictures.

    `bands` int64 (40, K, K): the trimap's with `void_outlines`, else those of class edges. `outlines` int64 (K, 2):
    intersection and union of Boundary IoU.
    """

    num_classes: int
    void_outlines: bool
    bands: Counts = field(init=False)
    outlines: Counts = field(init=False)

    def __post_init__(self) -> None:
        self.bands = np.zeros((len(WIDTHS), self.num_classes, self.num_classes), dtype=np.int64)
        self.outlines = np.zeros((self.num_classes, 2), dtype=np.int64)

    def add(self, prediction: Labels, label: Labels) -> None:
        """Count one picture: (H, W) each, 255 = void in `label`."""
        found, truth = prediction.astype(np.uint8), label.astype(np.uint8)
        distance = void_distance(truth) if self.void_outlines else edge_distance(truth)
        self.bands += band_confusion(found, truth, distance, self.num_classes)
        self.outlines += boundary_counts(found, truth, self.num_classes)

    def merge(self, other: "BoundaryTally") -> None:
        """Add what another process counted."""
        self.bands += other.bands
        self.outlines += other.outlines
