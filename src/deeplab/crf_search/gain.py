"""What the CRF gains over pictures, and how sure that is."""

from typing import NamedTuple

from deeplab.crf_search.tallies import Tally, mean_iou
from deeplab.metrics.bootstrap import Pictures, interval
from deeplab.metrics.intervals import Interval
from deeplab.metrics.jackknife import left_out, over_pictures, widened


class Gain(NamedTuple):
    """Difference of mIoU, as a fraction of 1, and its 95 % interval."""

    gain: float
    interval: Interval


def gain_over(before: Tally, after: Tally, repeats: int, seed: int) -> Gain:
    """Return mIoU(after) - mIoU(before) over the same pictures, with the interval that `deeplab compare` gives.

    It is the percentile interval of a paired bootstrap, widened to the jackknife's, and not measurable on one picture.
    before, after: (N, 3, K).
    """
    draws = Pictures(len(before), repeats, seed)
    gain = float(mean_iou(after.sum(0)) - mean_iou(before.sum(0)))
    resampled = interval(mean_iou(draws.sums(after)) - mean_iou(draws.sums(before)))
    error = over_pictures(mean_iou(left_out(after)) - mean_iou(left_out(before)))
    return Gain(gain, widened(resampled, gain, error))
