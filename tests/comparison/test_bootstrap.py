"""The intervals against a slow bootstrap that follows the definition word by word."""

import numpy as np
import pytest

from deeplab.metrics.bootstrap import Pictures, interval, mean_of, over_seeds
from deeplab.metrics.intervals import Interval
from deeplab.metrics.scores import class_counts, class_iou, mean_iou, scores

N, K = 9, 4


def matrices(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 50, (N, K, K))
    found[:, 3, :] = found[:, :, 3] = 0  # a class that no picture but the first has
    found[0, 3, 3] = 40
    return found


def slow_miou(total: np.ndarray) -> float:
    """mIoU of one matrix, class by class."""
    found = []
    for k in range(len(total)):
        union = total[k, :].sum() + total[:, k].sum() - total[k, k]
        if union > 0:
            found.append(total[k, k] / union)
    return float(np.mean(found))


def drawn(weights: np.ndarray) -> list[int]:
    """The pictures of one resample, each as often as it was drawn."""
    return [picture for picture, times in enumerate(weights) for _ in range(times)]


def test_a_resample_draws_as_many_pictures_as_there_are() -> None:
    pictures = Pictures(N, 500, seed=3)
    assert (pictures.weights.sum(axis=1) == N).all()
    # With replacement, each picture as likely as another: once on average, and left out by (1 - 1/N)^N of the draws.
    assert np.abs(pictures.weights.mean(axis=0) - 1).max() < 0.2
    assert (pictures.weights == 0).mean() == pytest.approx((1 - 1 / N) ** N, abs=0.03)


def test_resampled_miou_is_that_of_the_drawn_pictures() -> None:
    found, pictures = matrices(0), Pictures(N, 450, seed=1)  # more than one chunk of resamples
    fast = pictures.miou(class_counts(found))
    slow = []
    for weights in pictures.weights:
        total = np.zeros((K, K), dtype=np.int64)
        for picture in drawn(weights):
            total += found[picture]
        slow.append(slow_miou(total))
    np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-12)
    assert any(weights[0] == 0 for weights in pictures.weights), "no resample without the rare class"


def test_counts_add_up_to_the_scores_of_metrics_json() -> None:
    total = matrices(2).sum(axis=0)
    assert scores(total)["miou"] == pytest.approx(slow_miou(total), abs=1e-15)
    counts = class_counts(matrices(2)).sum(axis=0)
    np.testing.assert_array_equal(counts, class_counts(total))
    np.testing.assert_array_equal(mean_iou(total), np.nanmean(class_iou(total)))


def test_class_iou_of_a_class_that_no_drawn_picture_has_is_not_measured() -> None:
    pictures = Pictures(N, 300, seed=1)
    by_class = pictures.class_iou(class_counts(matrices(0)))
    np.testing.assert_array_equal(np.isnan(by_class[:, 3]), pictures.weights[:, 0] == 0)


def test_the_interval_of_a_paired_difference() -> None:
    a, b = matrices(4), matrices(5)
    pictures = Pictures(N, 1000, seed=0)
    fast = interval(pictures.miou(class_counts(a)) - pictures.miou(class_counts(b)))
    slow = sorted(slow_miou(a[drawn(w)].sum(axis=0)) - slow_miou(b[drawn(w)].sum(axis=0)) for w in pictures.weights)
    # Percentiles 2.5 and 97.5 of 1000 values lie between the 25th and 26th, and the 975th and 976th.
    assert fast.low is not None and slow[24] <= fast.low <= slow[25]
    assert fast.high is not None and slow[974] <= fast.high <= slow[975]
    unpaired = Pictures(N, 1000, seed=9).miou(class_counts(b))
    assert interval(pictures.miou(class_counts(a)) - unpaired) != fast


def test_seeds_are_drawn_anew_in_each_resample() -> None:
    values = [np.full(4000, 1.0), np.full(4000, 2.0), np.full(4000, 6.0)]
    found = over_seeds(values, seed=0, variant=0)
    # All ten ways to draw three of three with replacement.
    expected = {round((a + b + c) / 3, 6) for a in (1, 2, 6) for b in (1, 2, 6) for c in (1, 2, 6)}
    assert set(np.round(found, 6)) == expected
    assert found.mean() == pytest.approx(3.0, abs=0.1)
    assert found.std() == pytest.approx(np.std([1, 2, 6]) / np.sqrt(3), rel=0.05)
    assert (over_seeds(values, 0, variant=1) != found).any()
    np.testing.assert_array_equal(mean_of(values), np.full(4000, 3.0))


def test_an_interval_that_holds_zero() -> None:
    assert Interval(-0.1, 0.2).holds_zero
    assert Interval(0.0, 0.2).holds_zero
    assert not Interval(0.1, 0.2).holds_zero
    assert not Interval(-0.3, -0.1).holds_zero
    assert Interval(None, None).holds_zero
    assert interval(np.full(5, np.nan)) == Interval(None, None)
