"""What the numbers say, in plain sentences that claim no more than the intervals allow."""

from collections.abc import Sequence

from deeplab.comparison.bootstrap import FEWEST_SEEDS, Interval
from deeplab.comparison.pairs import Difference, Pair, comparable
from deeplab.comparison.variants import Variant


def points(value: float) -> str:
    """Return a difference of fractions as points with one decimal: 1.8, -0.4; two where one would say 0.0."""
    text = f"{100 * value:.1f}"
    return f"{100 * value:.2f}" if text in ("0.0", "-0.0") else text


def span(interval: Interval) -> str:
    """Return `0.9 to 2.6`."""
    if interval.low is None or interval.high is None:
        return "not measurable"
    return f"{points(interval.low)} to {points(interval.high)}"


def verdict(pair: Pair, refined: bool) -> str:
    """Say who is better, by how much and how sure that is, before or after the CRF."""
    difference = pair.after if refined else pair.before
    assert difference is not None
    # The pair is ordered by its final scores; before the CRF the other one may be ahead.
    a, b = pair.a.name, pair.b.name
    stage = "after the CRF" if refined else "before the CRF"
    return _who(a, b, difference, stage) + f"; {_basis(pair, difference)}.{_caution(difference, a, b)}"


def _who(a: str, b: str, difference: Difference, stage: str) -> str:
    value, interval = difference.difference, difference.over_pictures
    if value < 0:
        a, b, value = b, a, -value
        low, high = interval.low, interval.high
        interval = Interval(None if high is None else -high, None if low is None else -low)
    if value == 0:
        return f"{a} and {b} have the same mIoU {stage}, 95 % interval {span(interval)}"
    verb = "beats" if difference.decided else "is ahead of"
    return f"{a} {verb} {b} by {points(value)} points {stage}, 95 % interval {span(interval)}"


def _basis(pair: Pair, difference: Difference) -> str:
    text = f"{seeds_text([pair.a, pair.b])}, {number(pair.num_pictures, 'picture')}"
    if difference.over_seeds is None:
        return f"{text}; seed noise is not measured, for that takes {FEWEST_SEEDS} seeds of each"
    interval = difference.over_seeds
    if difference.difference < 0 and interval.low is not None and interval.high is not None:
        interval = Interval(-interval.high, -interval.low)
    return f"{text}; {span(interval)} with the seeds' noise counted"


def _caution(difference: Difference, a: str, b: str) -> str:
    if difference.over_pictures.holds_zero:
        return f" The interval holds 0: on these pictures {a} and {b} cannot be told apart."
    if difference.over_seeds is not None and difference.over_seeds.holds_zero:
        return " With the seeds' noise counted the interval holds 0: other seeds could turn the order round."
    return ""


def crf_verdict(variant: Variant, gain: Difference) -> str:
    """Say whether a variant's CRF helps."""
    value, interval = gain.difference, gain.over_pictures
    if interval.holds_zero:
        return (
            f"{variant.name}: the CRF changes mIoU by {points(value)} points, 95 % interval {span(interval)}: it holds "
            "0, so no gain or loss is shown."
        )
    word = "gains" if value > 0 else "costs"
    low, high = (interval.low, interval.high) if value > 0 else (-(interval.high or 0), -(interval.low or 0))
    return (
        f"{variant.name}: the CRF {word} {points(abs(value))} points of mIoU, 95 % interval "
        f"{span(Interval(low, high))}."
    )


def seeds_text(variants: Sequence[Variant]) -> str:
    """Return `3 seeds`, or `3 and 2 seeds`."""
    counts = [len(comparable(variant)) for variant in variants]
    if len(set(counts)) == 1:
        return number(counts[0], "seed") + (" each" if len(counts) > 1 else "")
    return " and ".join(map(str, counts)) + " seeds"


def number(count: int, noun: str) -> str:
    """Return `1 picture`, `2 pictures`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
