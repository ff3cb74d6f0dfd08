"""How often the 95 % intervals of `deeplab compare` hold the true difference: of few pictures, and of few seeds.

    python benchmarks/interval_coverage.py docs/results/voc12_subset_heads [--rounds 300] [--pictures 2 3 5 10 ...]

The pictures of the given runs (`per_picture.npz`) are taken for the population; so many of them are drawn with
replacement, and the intervals of the draw are looked up for the population's difference, for every two variants before
and after the CRF, means over seeds. Classes are also merged: VOC's 21 into 5 kinds, and into background and object,
since a class in few pictures is what makes intervals narrow. For the seeds mIoU is drawn from a normal distribution,
with a spread over seeds of so many times the one over pictures, of which both variants share a part. Nothing is timed.
"""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deeplab.comparison import jackknife
from deeplab.comparison.bootstrap import Interval, Pictures, interval, mean_of, over_seeds
from deeplab.comparison.run import Run, read_runs
from deeplab.comparison.run_folders import find_runs
from deeplab.comparison.variants import group
from deeplab.metrics.scores import class_counts, iou_of_counts, mean_over_classes

REPEATS = 1000
SEED_ROUNDS = 1000
MERGED = {
    "21 classes": np.arange(21),
    # background, vehicles, animals, things of a room, person
    "5 kinds": np.array([0, 1, 1, 2, 1, 3, 1, 1, 2, 3, 2, 3, 2, 2, 1, 4, 3, 2, 3, 1, 3]),
    "2 classes": np.array([0] + [1] * 20),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--pictures", type=int, nargs="+", default=[2, 3, 5, 10, 20, 30, 60, 120])
    options = parser.parse_args()
    variants = [variant.scored for variant in group(read_runs(find_runs(options.runs)))]
    for name, kinds in MERGED.items():
        for count in options.pictures:
            report(f"{name}, {count} pictures", pictures(list(sides(variants, kinds)), count, options.rounds))
    for seeds, shared, ratio in itertools.product((3, 5), (0, 0.8), (0.5, 1, 3)):
        name = f"{seeds} seeds, {ratio} times, correlated by {shared}"
        report(name, normal_seeds(seeds, ratio, shared, SEED_ROUNDS))


def report(name: str, rounds: list[list[tuple[Interval, Interval, float]]]) -> None:
    """Print, for intervals before and after widening, how many hold the truth, and their mean width in points."""
    line = f"{name:36}"
    for label, place in (("bootstrap", 0), ("widened", 1)):
        held = np.mean([[holds(each[place], each[2]) for each in one] for one in rounds], axis=0)
        widths = [each[place].high - each[place].low for one in rounds for each in one]
        line += (
            f"  {label}: {100 * held.mean():5.1f} % (least {100 * held.min():5.1f}), {100 * np.mean(widths):5.1f} wide"
        )
    print(line, flush=True)


def holds(one: Interval, value: float) -> bool:
    # Sums in another order may differ in the last digit.
    return one.low - 1e-12 <= value <= one.high + 1e-12


def sides(variants: list[list[Run]], kinds: np.ndarray) -> Iterator[np.ndarray]:
    """The counts of a variant before or after the CRF, (pictures, seeds, 2, K)."""
    merge = np.eye(kinds.max() + 1)[kinds]
    for refined in (False, True):
        for runs in variants:
            matrices = [np.einsum("nij,ia,jb->nab", run.matrices(refined), merge, merge) for run in runs]
            yield np.stack([class_counts(each) for each in matrices], axis=1)


def pictures(counts: list[np.ndarray], count: int, rounds: int) -> list[list[tuple[Interval, Interval, float]]]:
    half = len(counts) // 2
    pairs = [(i, j) for start in (0, half) for i, j in itertools.combinations(range(start, start + half), 2)]
    truth = [scores(each.sum(0)) for each in counts]
    rng = np.random.default_rng(count)
    found = []
    for number in range(rounds):
        chosen = rng.integers(0, len(counts[0]), count)
        draws = Pictures(count, REPEATS, number)
        estimate, without, resampled = [], [], []
        for each in counts:
            drawn = each[chosen]
            estimate.append(scores(drawn.sum(0)))
            without.append(scores(drawn.sum(0) - drawn))
            resampled.append(mean_of([draws.miou(drawn[:, seed]) for seed in range(drawn.shape[1])]))
        one = []
        for i, j in pairs:
            plain = interval(resampled[i] - resampled[j])
            variance = jackknife.over_pictures(without[i] - without[j])
            wide = jackknife.widened(plain, float(estimate[i] - estimate[j]), variance)
            one.append((plain, wide, float(truth[i] - truth[j])))
        found.append(one)
    return found


def scores(counts: np.ndarray) -> np.ndarray:
    """mIoU, mean over seeds: (..., seeds, 2, K) -> (...)."""
    return np.asarray(mean_over_classes(iou_of_counts(counts)).mean(-1))


def normal_seeds(seeds: int, ratio: float, shared: float, rounds: int) -> list[list[tuple[Interval, Interval, float]]]:
    """Two variants of the same mIoU, whose estimates err by 1 point for the pictures, and by `ratio` a seed.

    shared: the correlation between runs of a seed.
    """
    rng = np.random.default_rng(seeds)
    found = []
    for number in range(rounds):
        both, *own = 0.01 * ratio * rng.normal(size=(3, seeds))
        a, b = (shared**0.5 * both + (1 - shared) ** 0.5 * each for each in own)
        noise, resampled = 0.01 * rng.normal(), 0.01 * rng.normal(size=REPEATS)
        drawn = [over_seeds([np.full(REPEATS, value) for value in side], number, n) for n, side in enumerate((a, b))]
        plain = interval(drawn[0] - drawn[1] + noise + resampled)
        total = jackknife.added([jackknife.Variance(0.01**2, 119), jackknife.over_seeds(a - b)])
        found.append([(plain, jackknife.widened(plain, float((a - b).mean() + noise), total), 0.0)])
    return found


if __name__ == "__main__":
    main()
