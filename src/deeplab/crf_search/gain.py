"""What the CRF gains over pictures, and how sure that is."""

from typing import NamedTuple

import numpy as np

from deeplab.crf_search.tallies import Floats, Tally, mean_iou
from deeplab.metrics.intervals import Interval
from deeplab.metrics.jackknife import over_pictures, widened


class Gain(NamedTuple):
    """Difference of mIoU, as a fraction of 1, and its 95 % interval."""

    gain: float
    interval: Interval


def gain_over(before: Tally, after: Tally, repeats: int, seed: int) -> Gain:
    """Return mIoU(after) - mIoU(before) over the same pictures, with the interval that `deeplab compare` gives.

    It is the percentile interval of a paired bootstrap, widened to the jackknife's, and not measurable on one picture.
    before, after: (N, 3, K).
    """
    low, high = np.nanpercentile(resampled_gains(before, after, repeats, seed), [2.5, 97.5])
    gain = float(mean_iou(after.sum(0)) - mean_iou(before.sum(0)))
    without = mean_iou(after.sum(0) - after) - mean_iou(before.sum(0) - before)
    return Gain(gain, widened(Interval(float(low), float(high)), gain, over_pictures(without)))


def resampled_gains(before: Tally, after: Tally, repeats: int, seed: int) -> Floats:
    """Return the gain in each resample: pictures drawn with replacement, the same ones for both; (repeats,).

    A draw is a weight for each picture, so that all resampled sums are one matrix product.
    """
    N = len(before)
    rng = np.random.default_rng(seed)
    flat = np.concatenate([before.reshape(N, -1), after.reshape(N, -1)], axis=1).astype(np.float64)
    differences = []
    for start in range(0, repeats, 1000):
        weights = rng.multinomial(N, np.full(N, 1 / N), size=min(1000, repeats - start))
        sums = (weights.astype(np.float64) @ flat).reshape(len(weights), 2, *before.shape[1:])
        scores = mean_iou(sums)
        differences.append(scores[:, 1] - scores[:, 0])
    return np.concatenate(differences)
