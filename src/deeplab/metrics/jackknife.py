"""t intervals from the jackknife over pictures (Tukey 1958) and the spread over seeds; the bootstrap alone is narrow.

Resamples of few pictures, or of three seeds, spread less than new ones would; and where a class is in few pictures, the
resamples that lack it leave it out of the mean. The jackknife's variance errs to the large side (Efron and Stein 1981).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from deeplab.metrics.intervals import LEVEL, Interval
from deeplab.metrics.scores import Floats


class Variance(NamedTuple):
    """The variance of an estimate, and the degrees of freedom with which it is known."""

    value: float
    freedom: float


def left_out(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the counts of all pictures but one, for each: (N, ...) -> (N, ...)."""
    sums: npt.NDArray[Any] = counts.sum(0) - counts
    return sums


def over_pictures(values: Floats, freedom: float | None = None) -> Variance:
    """Return the jackknife's variance of a statistic from its values without each picture (N,).

    NaN for a single picture, and where the statistic cannot be measured without one of them. `freedom` is N - 1 unless
    it is given.
    """
    N = len(values)
    value = float((N - 1) / N * ((values - values.mean()) ** 2).sum()) if N > 1 else np.nan
    return Variance(value, N - 1 if freedom is None else freedom)


def over_seeds(values: Floats) -> Variance:
    """Return the variance of the mean over two seeds or more, (S,)."""
    return Variance(float(np.var(values, ddof=1)) / len(values), len(values) - 1)


def added(parts: Sequence[Variance]) -> Variance:
    """Return the sum of independent variances with its degrees of freedom after Welch and Satterthwaite."""
    total = sum(part.value for part in parts)
    spread = sum(part.value**2 / part.freedom for part in parts)
    return Variance(total, total**2 / spread if spread > 0 else parts[0].freedom)


def widened(interval: Interval, estimate: float, variance: Variance) -> Interval:
    """Return the interval, stretched on either side to where the t interval around the estimate reaches farther.

    Not measurable, where one of the two is not.
    """
    if interval.low is None or interval.high is None or np.isnan(variance.value) or variance.freedom <= 0:
        return Interval(None, None)
    reach = float(stdtrit(variance.freedom, (1 + LEVEL) / 2)) * variance.value**0.5
    return Interval(min(interval.low, estimate - reach), max(interval.high, estimate + reach))
