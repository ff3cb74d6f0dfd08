"""Differences of mIoU between two variants, before and after the CRF, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from deeplab.comparison.comparability import Group
from deeplab.comparison.run import Run
from deeplab.comparison.variants import Variant
from deeplab.metrics import jackknife
from deeplab.metrics.bootstrap import FEWEST_SEEDS, Pictures, interval, mean_of, over_seeds
from deeplab.metrics.intervals import Interval
from deeplab.metrics.scores import Floats, class_counts, iou_of_counts, mean_over_classes

# With more variants than this each is compared with the best one alone.
ALL_PAIRS = 12
# With more classes or pairs than this, classes get no intervals.
MOST_CLASS_CELLS = 20_000
# In fewer pictures than this a class gets no interval: of two it would be wider than the whole scale.
FEWEST_CLASS_PICTURES = 3


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
    def deciding(self) -> Interval:
        """The interval that decides: over pictures and seeds where there is one, else over pictures alone."""
        return self.over_pictures if self.over_seeds is None else self.over_seeds

    @property
    def decided(self) -> bool:
        """Whether seed noise is measured and the interval that counts it leaves out 0."""
        return self.over_seeds is not None and not self.over_seeds.holds_zero


@dataclass(frozen=True)
class Pair:
    """Two variants on the pictures that the runs compared have in common.

    `seeds` counts those runs of each; `shared` holds their seeds where a variant has others that were left out.
    """

    a: Variant
    b: Variant
    num_pictures: int
    seeds: tuple[int, int]
    shared: list[int] | None
    before: Difference
    after: Difference | None


class Scores(NamedTuple):
    """A run's scores: IoU of the classes (K,), mIoU and IoU over the resamples, and without each picture."""

    iou: Floats
    resampled: Floats  # (repeats,)
    resampled_iou: Floats  # (repeats, K)
    left_out: Floats  # (N,)
    left_out_iou: Floats  # (N, K)


class Scorer:
    """Resamples the pictures of one group of comparable variants; draws and scores are kept and used again."""

    def __init__(self, group: Group, repeats: int, seed: int) -> None:
        self.group = group
        self.repeats = repeats
        self.seed = seed
        self._pictures: dict[int, Pictures] = {}
        self._scores: dict[Any, Scores] = {}

    def pair(self, a: Variant, b: Variant, with_classes: bool = True) -> Pair | None:
        """Compare two variants over the seeds that both have, over all where they share none.

        None if they have no picture in common.
        """
        one, other, shared = matched(comparable(a), comparable(b))
        ids = common([*one, *other])
        if not ids:
            return None
        before = self._difference(ids, (one, False), (other, False), with_classes)
        refined = has_crf(one) and has_crf(other)
        after = self._difference(ids, (one, True), (other, True), with_classes) if refined else None
        return Pair(a, b, len(ids), (len(one), len(other)), shared, before, after)

    def crf_gain(self, variant: Variant) -> Difference | None:
        """What a variant gains by its CRF; None if it has none, or its runs have no picture in common.

        The seeds of both sides are the same runs, so they are drawn together.
        """
        runs = comparable(variant)
        ids = common(runs)
        return self._difference(ids, (runs, True), (runs, False), True) if ids and has_crf(runs) else None

    def scores(self, runs: Sequence[Run], refined: bool, ids: Sequence[str]) -> list[Scores]:
        """Return the scores of each run on the pictures `ids`."""
        return [self._scored(run, refined, ids) for run in runs]

    def _scored(self, run: Run, refined: bool, ids: Sequence[str]) -> Scores:
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
            without = iou_of_counts(jackknife.left_out(counts))
            iou = iou_of_counts(counts.sum(0))
            self._scores[key] = Scores(iou, mean_over_classes(by_class), by_class, mean_over_classes(without), without)
        return self._scores[key]

    def _difference(
        self,
        ids: Sequence[str],
        first: tuple[Sequence[Run], bool],
        second: tuple[Sequence[Run], bool],
        with_classes: bool,
    ) -> Difference:
        one, other = self.scores(*first, ids), self.scores(*second, ids)
        mious = [np.array([mean_over_classes(each.iou) for each in side]) for side in (one, other)]
        difference = float(mious[0].mean() - mious[1].mean())
        resampled = [[each.resampled for each in side] for side in (one, other)]
        error = jackknife.over_pictures(mean_of([e.left_out for e in one]) - mean_of([e.left_out for e in other]))
        seeds = None
        if min(len(one), len(other)) >= FEWEST_SEEDS:
            same = first[0] is second[0]
            drawn = [over_seeds(side, self.seed, 0 if same else n) for n, side in enumerate(resampled)]
            numbers = [[run.seed for run in side[0]] for side in (first, second)]
            paired = same or (None not in numbers[0] and numbers[0] == numbers[1])
            errors = [error, *(jackknife.over_seeds(each) for each in ([mious[0] - mious[1]] if paired else mious))]
            seeds = jackknife.widened(interval(drawn[0] - drawn[1]), difference, jackknife.added(errors))
        classes = mean_of([each.iou for each in one]) - mean_of([each.iou for each in other])
        return Difference(
            difference,
            jackknife.widened(interval(mean_of(resampled[0]) - mean_of(resampled[1])), difference, error),
            seeds,
            [None if np.isnan(value) else float(value) for value in classes],
            self._class_intervals(ids, classes, one, other) if with_classes else None,
        )

    def _class_intervals(
        self, ids: Sequence[str], classes: Floats, one: Sequence[Scores], other: Sequence[Scores]
    ) -> list[Interval]:
        """Intervals over pictures, not measurable for a class in fewer than three of them.

        Of a class only the pictures that show it count as observations, which sets the t interval's freedom.
        """
        resampled = mean_of([each.resampled_iou for each in one]) - mean_of([each.resampled_iou for each in other])
        without = mean_of([each.left_out_iou for each in one]) - mean_of([each.left_out_iou for each in other])
        shown = np.sum([self.group.truth[each] > 0 for each in ids], axis=0)
        return [
            jackknife.widened(interval(resampled[:, k]), value, jackknife.over_pictures(without[:, k], shown[k] - 1))
            if shown[k] >= FEWEST_CLASS_PICTURES
            else Interval(None, None)
            for k, value in enumerate(classes)
        ]


def comparable(variant: Variant) -> list[Run]:
    """The variant's runs that have matrices a picture."""
    return [run for run in variant.scored if run.pictures is not None]


def common(runs: Sequence[Run]) -> list[str]:
    """Return the pictures that all runs have, in the order of the first."""
    assert runs[0].pictures is not None
    others = [set(run.pictures.ids) for run in runs[1:] if run.pictures is not None]
    return [each for each in runs[0].pictures.ids if all(each in ids for ids in others)]


def matched(one: Sequence[Run], other: Sequence[Run]) -> tuple[Sequence[Run], Sequence[Run], list[int] | None]:
    """Return the runs of the seeds that both sides have, by seed, and those seeds where that leaves runs out.

    Runs of one seed see the same crops in the same order, which moves their scores alike. All runs, if the sides share
    no seed.
    """
    sides = [{run.seed: run for run in side if run.seed is not None} for side in (one, other)]
    shared = sorted(sides[0].keys() & sides[1].keys())
    if not shared:
        return one, other, None
    all_counted = len(shared) == len(one) == len(other)
    one, other = ([side[seed] for seed in shared] for side in sides)
    return one, other, None if all_counted else shared


def has_crf(runs: Sequence[Run]) -> bool:
    """Whether all runs were scored after the CRF too."""
    return all(run.pictures is not None and run.pictures.confusion_crf is not None for run in runs)


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
        runs = comparable(variant)
        ids = common(runs)
        scores = scorer.scores(runs, has_crf(runs), ids) if ids else []
        return float(np.mean([mean_over_classes(each.iou) for each in scores])) if scores else -1.0

    return sorted(scorer.group.variants, key=miou, reverse=True)


def _better_first(pair: Pair) -> Pair:
    """Turn a pair round whose second variant is better on the common pictures."""
    shown = pair.after or pair.before
    if shown.difference >= 0:
        return pair
    turned = None if pair.after is None else _turned(pair.after)
    return Pair(pair.b, pair.a, pair.num_pictures, pair.seeds[::-1], pair.shared, _turned(pair.before), turned)


def _turned(one: Difference) -> Difference:
    return Difference(
        -one.difference,
        one.over_pictures.turned,
        None if one.over_seeds is None else one.over_seeds.turned,
        [None if value is None else -value for value in one.classes],
        None if one.class_intervals is None else [each.turned for each in one.class_intervals],
    )
