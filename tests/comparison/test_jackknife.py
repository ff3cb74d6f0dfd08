"""The t intervals against textbook numbers, and how often they hold the truth beside the bootstrap alone."""

import numpy as np
import pytest

from deeplab.metrics import jackknife
from deeplab.metrics.bootstrap import Pictures, interval, over_seeds
from deeplab.metrics.intervals import Interval
from deeplab.metrics.jackknife import Variance
from deeplab.metrics.scores import class_counts, iou_of_counts, mean_iou, mean_over_classes


def test_each_picture_is_left_out_once() -> None:
    matrices = np.random.default_rng(0).integers(0, 50, (6, 3, 3))
    fast = mean_over_classes(iou_of_counts(jackknife.left_out(class_counts(matrices))))
    slow = [mean_iou(np.delete(matrices, place, axis=0).sum(0)) for place in range(6)]
    np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-12)


def test_of_a_mean_it_is_the_variance_of_the_mean() -> None:
    values = np.array([1.0, 4.0, 4.0, 7.0])
    without = (values.sum() - values) / 3
    expected = values.var(ddof=1) / 4
    assert jackknife.over_pictures(without) == (pytest.approx(expected), 3)
    assert jackknife.over_seeds(values) == (pytest.approx(expected), 3)


def test_what_one_picture_alone_has_is_not_measured() -> None:
    assert np.isnan(jackknife.over_pictures(np.array([0.5])).value)
    unknown = jackknife.over_pictures(np.array([0.5, np.nan, 0.4]))
    assert jackknife.widened(Interval(0.1, 0.2), 0.15, unknown) == Interval(None, None)


def test_welchs_degrees_of_freedom() -> None:
    # Two samples of three: s1 = 1, s2 = 2 -> 2 (1 + 4)^2 / (1 + 16)
    total = jackknife.added([Variance(1 / 3, 2), Variance(4 / 3, 2)])
    assert total == (pytest.approx(5 / 3), pytest.approx(50 / 17))
    assert jackknife.added([Variance(0.0, 5), Variance(0.0, 2)]).value == 0


def test_an_interval_is_stretched_and_never_shrunk() -> None:
    # t(4, 97.5 %) = 2.776
    found = jackknife.widened(Interval(0.5, 9.0), 5.0, Variance(1.0, 4))
    assert (found.low, found.high) == (0.5, 9.0)
    found = jackknife.widened(Interval(4.0, 6.0), 5.0, Variance(1.0, 4))
    assert (found.low, found.high) == (pytest.approx(5 - 2.776, abs=1e-3), pytest.approx(5 + 2.776, abs=1e-3))
    assert jackknife.widened(Interval(0.0, 0.0), 0.0, Variance(0.0, 4)) == Interval(0.0, 0.0)


def test_of_three_seeds_nineteen_intervals_in_twenty_hold_the_truth_and_the_bootstraps_do_not() -> None:
    rng = np.random.default_rng(0)
    held = np.zeros(2)
    for number in range(300):
        values = rng.normal(size=(2, 3))
        drawn = [over_seeds([np.full(200, one) for one in side], number, n) for n, side in enumerate(values)]
        plain = interval(drawn[0] - drawn[1])
        errors = jackknife.added([jackknife.over_seeds(side) for side in values])
        wide = jackknife.widened(plain, float(values[0].mean() - values[1].mean()), errors)
        held += [not plain.holds_zero, not wide.holds_zero]
    assert held[0] > 40 and held[1] < 25  # wrong: 15 of 300 is 5 %


def test_of_five_pictures_too() -> None:
    rng = np.random.default_rng(1)
    population = rng.multinomial(300, rng.dirichlet(np.full(9, 0.2)), size=200).reshape(200, 3, 3)
    population[rng.random(200) < 0.9, 2] = 0  # the third class is in one picture in ten
    truth = float(mean_iou(population.sum(0)))
    held = np.zeros(2)
    for number in range(200):
        counts = class_counts(population[rng.integers(0, 200, 5)])
        estimate = float(mean_over_classes(iou_of_counts(counts.sum(0))))
        plain = interval(Pictures(5, 200, number).miou(counts))
        without = mean_over_classes(iou_of_counts(jackknife.left_out(counts)))
        wide = jackknife.widened(plain, estimate, jackknife.over_pictures(without))
        held += [one.low is not None and one.low <= truth <= (one.high or 0) for one in (plain, wide)]
    assert held[1] > 175 > 165 > held[0]
