import numpy as np
import pytest
import torch

from deeplab.crf_search.gain import gain_over
from deeplab.crf_search.tallies import mean_iou, tally
from deeplab.metrics.bootstrap import Pictures, interval
from deeplab.metrics.confusion import confusion
from deeplab.metrics.scores import scores

RNG = np.random.default_rng(0)
K = 6


def pictures(count: int, right: float, seed: int) -> np.ndarray:
    """Tallies (count, 3, K) of predictions of which about `right` of the pixels are right; class 5 is rare."""
    rng = np.random.default_rng(seed)
    result = []
    for number in range(count):
        truth = np.random.default_rng(number).integers(0, 3 if number % 4 else K, (9, 11))
        truth[0, 0] = 255
        guess = np.where(rng.random(truth.shape) < right, truth, rng.integers(0, K, truth.shape)) % K
        result.append(tally(truth, guess, K))
    return np.stack(result)


def test_tallies_are_the_sums_of_the_confusion_matrix() -> None:
    truth = RNG.integers(0, K, (30, 40)).astype(np.uint8)
    truth[:5] = 255
    guess = RNG.integers(0, K - 1, truth.shape).astype(np.uint8)
    matrix = confusion(torch.from_numpy(guess), torch.from_numpy(truth), K).numpy()
    counts = tally(truth, guess, K)
    np.testing.assert_array_equal(counts, [np.diag(matrix), matrix.sum(1), matrix.sum(0)])
    assert float(mean_iou(counts)) == pytest.approx(scores(matrix)["miou"], abs=1e-12)


def test_classes_that_occur_nowhere_do_not_count() -> None:
    counts = tally(np.array([[0, 1, 255]]), np.array([[0, 0, 2]]), 4)
    assert float(mean_iou(counts)) == pytest.approx((1 / 2 + 0) / 2)
    assert np.isnan(mean_iou(np.zeros((3, 4))))


def test_a_class_that_is_predicted_but_nowhere_true_does_not_count() -> None:
    counts = tally(np.array([[0, 0, 1]]), np.array([[0, 2, 1]]), 3)
    assert float(mean_iou(counts)) == pytest.approx((1 / 2 + 1) / 2)
    # The CRF that repairs the one pixel gains what class 0 gains, and not a class less in the mean.
    repaired = tally(np.array([[0, 0, 1]]), np.array([[0, 0, 1]]), 3)
    gain, wide = gain_over(counts[None], repaired[None], 10, seed=0)
    assert gain == pytest.approx(0.25) and wide == (None, None)  # one picture measures no spread


def test_bad_masks_are_refused() -> None:
    with pytest.raises(ValueError, match="label 7, but the scores have 4 classes"):
        tally(np.array([[7]]), np.array([[0]]), 4)
    with pytest.raises(ValueError, match="of one size"):
        tally(np.zeros((2, 3), int), np.zeros((3, 2), int), 4)


def test_the_bootstrap_agrees_with_a_slow_loop() -> None:
    before, after = pictures(17, 0.6, 1), pictures(17, 0.7, 2)
    draws = Pictures(17, 4000, 3)
    fast = interval(mean_iou(draws.sums(after)) - mean_iou(draws.sums(before)))
    gain, wide = gain_over(before, after, 4000, seed=3)
    assert gain == pytest.approx(float(mean_iou(after.sum(0)) - mean_iou(before.sum(0))))
    rng = np.random.default_rng(4)
    differences = []
    for _ in range(4000):
        drawn = rng.integers(0, 17, 17)
        ious = []
        for tallies in (before, after):
            hits, truth, predicted = (sum(tallies[i][row] for i in drawn) for row in range(3))
            union = truth + predicted - hits
            ious.append(np.mean([hits[k] / union[k] for k in range(K) if truth[k]]))
        differences.append(ious[1] - ious[0])
    low, high = np.percentile(differences, [2.5, 97.5])
    width = high - low
    assert fast == pytest.approx((low, high), abs=0.06 * width)
    assert wide.low is not None and wide.low <= fast.low and fast.high <= wide.high


def test_the_bootstrap_is_paired_and_seeded() -> None:
    before = pictures(12, 0.6, 1)
    assert gain_over(before, before, 500, seed=0) == (0, (0, 0))
    after = pictures(12, 0.7, 2)
    assert gain_over(before, after, 1500, seed=0) == gain_over(before, after, 1500, seed=0)


def test_few_pictures_give_intervals_that_hold() -> None:
    rng = np.random.default_rng(0)
    before, after = pictures(400, 0.6, 1), pictures(400, 0.62, 2)
    truth = float(mean_iou(after.sum(0)) - mean_iou(before.sum(0)))
    held = []
    for number in range(200):
        drawn = rng.integers(0, 400, 6)
        low, high = gain_over(before[drawn], after[drawn], 300, number).interval
        held.append(low <= truth <= high)
    assert np.mean(held) > 0.9
