"""Paired bootstrap over pictures, and over pictures and seeds.

A resample draws as many pictures as there are, with replacement, the same for all runs; mIoU is computed anew from the
sum of the drawn pictures' counts. A draw is a weight for each picture, so that all resampled sums are matrix products.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deeplab.metrics.intervals import LEVEL, Interval
from deeplab.metrics.scores import Floats, iou_of_counts, mean_over_classes

FEWEST_SEEDS = 3
_CHUNK = 200  # resamples whose weights are held as float64 at a time


class Pictures:
    """The resamples of `count` pictures: `repeats` draws of `count` with replacement."""

    def __init__(self, count: int, repeats: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 0])
        self.weights = rng.multinomial(count, np.full(count, 1 / count), size=repeats).astype(np.int32)

    def sums(self, counts: npt.NDArray[Any]) -> Floats:
        """Return the sum over the drawn pictures of each resample: counts a picture (N, ...) -> (repeats, ...)."""
        flat = counts.reshape(len(counts), -1)
        parts = [
            self.weights[start : start + _CHUNK].astype(np.float64) @ flat
            for start in range(0, len(self.weights), _CHUNK)
        ]
        return np.concatenate(parts).reshape(-1, *counts.shape[1:])

    def class_iou(self, counts: Floats) -> Floats:
        """Return the IoU of each class in each resample: counts a picture (N, 2, K) -> (repeats, K)."""
        return iou_of_counts(self.sums(counts))

    def miou(self, counts: Floats) -> Floats:
        """Return mIoU in each resample: (N, 2, K) -> (repeats,)."""
        return mean_over_classes(self.class_iou(counts))


def over_seeds(values: Sequence[Floats], seed: int, variant: int) -> Floats:
    """Return the mean over seeds drawn with replacement, drawn anew in each resample: S of (repeats,) -> (repeats,).

    Different numbers `variant` draw independently.
    """
    table = np.stack(values, axis=1)
    S = table.shape[1]
    draws = np.random.default_rng([seed, 1, variant]).multinomial(S, np.full(S, 1 / S), size=len(table))
    mean: Floats = (table * draws).sum(axis=1) / S
    return mean


def mean_of(values: Sequence[Floats]) -> Floats:
    """Return the mean over all seeds in each resample: S of (repeats, ...) -> (repeats, ...)."""
    mean: Floats = np.mean(np.stack(values), axis=0)
    return mean


def interval(statistic: npt.NDArray[Any]) -> Interval:
    """Return the percentile interval of a statistic over its resamples (repeats,), NaN left out."""
    measured = statistic[~np.isnan(statistic)]
    if not len(measured):
        return Interval(None, None)
    low, high = np.quantile(measured, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
