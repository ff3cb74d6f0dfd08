"""What an interval of a difference says."""

from typing import NamedTuple

LEVEL = 0.95


class Interval(NamedTuple):
    """The interval of a statistic; None where it could not be measured."""

    low: float | None
    high: float | None

    @property
    def holds_zero(self) -> bool:
        """Whether no difference is within the interval; an interval that could not be measured shows none."""
        return self.low is None or self.high is None or self.low <= 0 <= self.high

    @property
    def turned(self) -> "Interval":
        """That of the difference the other way round."""
        return Interval(None if self.high is None else -self.high, None if self.low is None else -self.low)
