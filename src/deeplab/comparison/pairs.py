"""Differences of mIoU between two variants, before and after the CRF, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deeplab.comparison.bootstrap import FEWEST_SEEDS, Interval, Pictures, interval, mean_of, over_seeds
from deeplab.comparison.comparability import Group
from deeplab.comparison.run import Run
from deeplab.comparison.variants import Variant
from deeplab.metrics.scores import Floats, class_counts, iou_of_counts, mean_over_classes

# With more variants than this each is compared with the best one alone.
ALL_PAIRS = 12
# With more classes or pairs than this, classes get no intervals.
MOST_CLASS_CELLS = 20_000


@dataclass(frozen=True)
class Difference:
    """What the first side has over the second, as fractions of 1.

    `over_seeds` is None where a side has fewer than three seeds; `classes` holds the difference of each class's IoU,
    None for a class that cannot be measured.
    """

    difference: float
    over_pictures: Interval
    over_seeds: Interval | None
    classes: list[float | None]
    class_intervals: list[Interval] | None

    @property
    def decided(self) -> bool:
        """Whether every interval there is leaves out 0."""
        return not (self.over_pictures.holds_zero or (self.over_seeds is not None and self.over_seeds.holds_zero))


@dataclass(frozen=True)
class Pair:
    """Two variants on the pictures that all their runs have in common."""

    a: Variant
    b: Variant
    num_pictures: int
    before: Difference
    after: Difference | None


class Scorer:
    """Resamples the pictures of one group of comparable variants; draws and scores are kept and used again."""

    def __init__(self, group: Group, repeats: int, seed: int) -> None:
        self.group = group
        self.repeats = repeats
        self.seed = seed
        self._pictures: dict[int, Pictures] = {}
        self._scores: dict[Any, tuple[Floats, Floats, Floats]] = {}

    def common(self, variants: Sequence[Variant]) -> list[str]:
        """Return the pictures that all runs of the variants have, in the order of the first run."""
        runs = [run for variant in variants for run in comparable(variant)]
        assert runs[0].pictures is not None
        others = [set(run.pictures.ids) for run in runs[1:] if run.pictures is not None]
        return [each for each in runs[0].pictures.ids if all(each in ids for ids in others)]

    def pair(self, a: Variant, b: Variant, with_classes: bool = True) -> Pair | None:
        """Compare two variants; None if they have no picture in common."""
        ids = self.common([a, b])
        if not ids:
            return None
        before = self._difference(ids, (a, False), (b, False), with_classes)
        refined = all(has_crf(variant) for variant in (a, b))
        after = self._difference(ids, (a, True), (b, True), with_classes) if refined else None
        return Pair(a, b, len(ids), before, after)

    def crf_gain(self, variant: Variant) -> Difference | None:
        """What a variant gains by its CRF; None if it has none, or its runs have no picture in common.

        The seeds of both sides are the same runs, so they are drawn together.
        """
        ids = self.common([variant])
        return self._difference(ids, (variant, True), (variant, False), True) if ids and has_crf(variant) else None

    def scores(self, variant: Variant, refined: bool, ids: Sequence[str]) -> list[tuple[Floats, Floats, Floats]]:
        """Return for each seed: the IoU of the classes (K,), and over the resamples mIoU (R,) and the IoU (R, K)."""
        return [self._scored(run, refined, ids) for run in comparable(variant)]

    def _scored(self, run: Run, refined: bool, ids: Sequence[str]) -> tuple[Floats, Floats, Floats]:
        key = (id(run), refined, tuple(ids))
        if key not in self._scores:
            assert run.pictures is not None
            matrices = run.matrices(refined)
            place = {name: index for index, name in enumerate(run.pictures.ids)}
            assert matrices is not None
            counts = class_counts(matrices[[place[each] for each in ids]])
            if len(ids) not in self._pictures:
                self._pictures[len(ids)] = Pictures(len(ids), self.repeats, self.seed)
            by_class = self._pictures[len(ids)].class_iou(counts)
            self._scores[key] = (iou_of_counts(counts.sum(0)), mean_over_classes(by_class), by_class)
        return self._scores[key]

    def _difference(
        self, ids: Sequence[str], first: tuple[Variant, bool], second: tuple[Variant, bool], with_classes: bool
    ) -> Difference:
        one, other = self.scores(*first, ids), self.scores(*second, ids)
        mious = [[mean_over_classes(iou) for iou, _, _ in side] for side in (one, other)]
        classes = mean_of([iou for iou, _, _ in one]) - mean_of([iou for iou, _, _ in other])
        resampled = [[each for _, each, _ in side] for side in (one, other)]
        seeds = None
        if min(len(one), len(other)) >= FEWEST_SEEDS:
            numbers = [self.group.variants.index(variant) for variant, _ in (first, second)]
            drawn = [over_seeds(side, self.seed, n) for side, n in zip(resampled, numbers, strict=True)]
            seeds = interval(drawn[0] - drawn[1])
        class_intervals = None
        if with_classes:
            by_class = mean_of([each for _, _, each in one]) - mean_of([each for _, _, each in other])
            class_intervals = [interval(column) for column in by_class.T]
        return Difference(
            float(np.mean(mious[0]) - np.mean(mious[1])),
            interval(mean_of(resampled[0]) - mean_of(resampled[1])),
            seeds,
            [None if np.isnan(value) else float(value) for value in classes],
            class_intervals,
        )


def comparable(variant: Variant) -> list[Run]:
    """The variant's runs that have matrices a picture."""
    return [run for run in variant.scored if run.pictures is not None]


def has_crf(variant: Variant) -> bool:
    """Whether all runs of the variant were scored after the CRF too."""
    return all(run.pictures is not None and run.pictures.confusion_crf is not None for run in comparable(variant))


def all_pairs(scorer: Scorer) -> tuple[list[Pair], str | None]:
    """Compare every two variants of the group, the better one first, best pairs first; and say if some are left out.

    With more than twelve variants each is compared with the best.
    """
    order = ranked(scorer)
    chosen = [(i, j) for i in range(len(order)) for j in range(i + 1, len(order))]
    said = None
    if len(order) > ALL_PAIRS:
        chosen = [(0, j) for j in range(1, len(order))]
        said = f"There are {len(order)} variants: each is compared with the best one, {order[0].name}, alone."
    with_classes = len(chosen) * len(scorer.group.class_names) <= MOST_CLASS_CELLS
    pairs = [scorer.pair(order[i], order[j], with_classes) for i, j in chosen]
    return [_better_first(pair) for pair in pairs if pair is not None], said


def ranked(scorer: Scorer) -> list[Variant]:
    """Return the group's variants, the best by its final scores (after the CRF where it has one) first."""

    def miou(variant: Variant) -> float:
        ids = scorer.common([variant])
        scores = scorer.scores(variant, has_crf(variant), ids) if ids else []
        return float(np.mean([mean_over_classes(iou) for iou, _, _ in scores])) if scores else -1.0

    return sorted(scorer.group.variants, key=miou, reverse=True)


def _better_first(pair: Pair) -> Pair:
    """Turn a pair round whose second variant is better on the common pictures."""
    shown = pair.after or pair.before
    if shown.difference >= 0:
        return pair
    turned = None if pair.after is None else _turned(pair.after)
    return Pair(pair.b, pair.a, pair.num_pictures, _turned(pair.before), turned)


def _turned(one: Difference) -> Difference:
    def around(each: Interval) -> Interval:
        return Interval(None if each.high is None else -each.high, None if each.low is None else -each.low)

    return Difference(
        -one.difference,
        around(one.over_pictures),
        None if one.over_seeds is None else around(one.over_seeds),
        [None if value is None else -value for value in one.classes],
        None if one.class_intervals is None else [around(each) for each in one.class_intervals],
    )
