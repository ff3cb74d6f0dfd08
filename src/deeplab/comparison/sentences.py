"""What the numbers say, in plain sentences that claim no more than the intervals allow."""

from collections.abc import Sequence

from deeplab.comparison.pairs import Difference, Pair, comparable
from deeplab.comparison.variants import Variant
from deeplab.metrics.bootstrap import FEWEST_SEEDS
from deeplab.metrics.intervals import Interval


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
    """Say who is better, by how much and how sure that is, before or after the CRF.

    What stands before the first semicolon is true by itself: who reads no more is not misled.
    """
    difference = pair.after if refined else pair.before
    assert difference is not None
    # The pair is ordered by its final scores; before the CRF the other one may be ahead.
    a, b = (pair.a, pair.b) if difference.difference >= 0 else (pair.b, pair.a)
    seeds = pair.seeds if a is pair.a else pair.seeds[::-1]
    stage = "after the CRF" if refined else "before the CRF"
    if difference.difference == 0:
        claim = f"{a.name} and {b.name} have the same mIoU {stage}"
    else:
        verb = "beats" if difference.decided else "is ahead of"
        claim = f"{a.name} {verb} {b.name} by {points(abs(difference.difference))} points {stage}"
    basis = f"{seeds_text(seeds, pair.shared)}, {number(pair.num_pictures, 'picture')}"
    turned = difference.difference < 0
    certainty = _certainty(difference, turned, "the two cannot be told apart")
    return f"{claim}{certainty}; {basis}{_beside(difference, turned)}."


def against_others(best: Variant, pairs: Sequence[Pair]) -> str | None:
    """Say in short how the best variant stands to those that the first pair's verdict does not name; None if none is.

    Final scores count, so a pair without the first one's CRF is left to its own sentence.
    """
    refined = bool(pairs) and pairs[0].after is not None
    said: dict[str, list[str]] = {}
    for pair in pairs[1:]:
        if best in (pair.a, pair.b) and (pair.after is not None) == refined:
            difference, turned = pair.after or pair.before, best is pair.b
            interval = difference.deciding.turned if turned else difference.deciding
            value = -difference.difference if turned else difference.difference
            other = pair.a if turned else pair.b
            claim = f"{other.name} ({'+' if value > 0 else ''}{points(value)} points, {span(interval)})"
            said.setdefault(_relation(difference, value), []).append(claim)
    if not said:
        return None
    claims = "; ".join(f"{verb} {_some(names)}" for verb, names in said.items())
    unmeasured = any((pair.after or pair.before).over_seeds is None for pair in pairs[1:] if best in (pair.a, pair.b))
    return f"Against the others: {best.name} {claims}{'; not all seed noise is measured' if unmeasured else ''}."


def _relation(difference: Difference, value: float) -> str:
    if difference.decided:
        return "beats" if value > 0 else "is beaten by"
    if difference.over_seeds is not None or difference.deciding.holds_zero:
        return "cannot be told apart from"
    return "is ahead of" if value > 0 else "is behind"


def _some(names: Sequence[str]) -> str:
    """Return the first three names, and how many more there are."""
    more = [f"{len(names) - 3} more"] if len(names) > 3 else []
    *first, last = [*names[:3], *more]
    return f"{', '.join(first)} and {last}" if first else last


def crf_verdict(variant: Variant, gain: Difference) -> str:
    """Say whether a variant's CRF helps, by the rule of `verdict`."""
    value = gain.difference
    if gain.decided:
        claim = f"the CRF {'gains' if value > 0 else 'costs'} {points(abs(value))} points of mIoU"
    else:
        claim = f"the CRF changes mIoU by {points(value)} points"
    turned = gain.decided and value < 0
    certainty = _certainty(gain, turned, "no gain or loss is shown")
    return f"{variant.name}: {claim}{certainty}; {number(len(comparable(variant)), 'seed')}{_beside(gain, turned)}."


def _certainty(difference: Difference, turned: bool, undecided: str) -> str:
    """What the interval that decides says of the claim before it, `turned` if that names the second side first."""
    interval = difference.deciding.turned if turned else difference.deciding
    text = f", 95 % interval {span(interval)} over pictures "
    text += "alone, and seed noise is not measured" if difference.over_seeds is None else "and seeds"
    if interval.low is None:
        return f"{text}, so {undecided}"
    return f"{text}: the interval holds 0, so {undecided}" if interval.holds_zero else text


def _beside(difference: Difference, turned: bool) -> str:
    """The other interval, or what it takes to have it."""
    if difference.over_seeds is None:
        return f"; to measure seed noise takes {FEWEST_SEEDS} seeds of each"
    interval = difference.over_pictures.turned if turned else difference.over_pictures
    lucky = difference.over_seeds.holds_zero and not interval.holds_zero
    return f"; {span(interval)} over pictures alone" + (", so other seeds could turn it round" if lucky else "")


def seeds_text(counts: Sequence[int], shared: Sequence[int] | None) -> str:
    """Return `3 seeds each`, or `3 and 2 seeds`; and which, where only those that both sides have were taken."""
    text = f"{number(counts[0], 'seed')} each" if len(set(counts)) == 1 else f"{' and '.join(map(str, counts))} seeds"
    return text if shared is None else f"{text} (of seed {listed(shared)}, which both have)"


def listed(values: Sequence[int]) -> str:
    """Return `1`, or `0 and 2`, or `0, 1 and 2`."""
    return " and ".join(filter(None, [", ".join(map(str, values[:-1])), str(values[-1])]))


def number(count: int, noun: str) -> str:
    """Return `1 picture`, `2 pictures`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
