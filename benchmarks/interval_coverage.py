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
from typing import Any, NamedTuple

import numpy as np

from deeplab.comparison.run import Run, read_runs
from deeplab.comparison.run_folders import find_runs
from deeplab.comparison.variants import group
from deeplab.metrics import jackknife
from deeplab.metrics.bootstrap import Pictures, interval, mean_of, over_seeds
from deeplab.metrics.intervals import Interval
from deeplab.metrics.scores import class_counts, iou_of_counts, mean_over_classes

REPEATS = 1000
SEED_ROUNDS = 1000
MERGED = {
    "21 classes": np.arange(21),
    # background, vehicles, animals, things of a room, person
    "5 kinds": np.array([0, 1, 1, 2, 1, 3, 1, 1, 2, 3, 2, 3, 2, 2, 1, 4, 3, 2, 3, 1, 3]),
    "2 classes": np.array([0] + [1] * 20),
}


class Held(NamedTuple):
    """The intervals of one draw before and after widening, and the difference they are to hold."""

    bootstrap: Interval
    widened: Interval
    truth: float


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


def report(name: str, rounds: list[list[Held]]) -> None:
    """Print, for intervals before and after widening, how many hold the truth, and their mean width in points."""
    line = f"{name:36}"
    for label in ("bootstrap", "widened"):
        lows, highs = (np.array([[getattr(each, label)[end] for each in one] for one in rounds]) for end in (0, 1))
        truth = np.array([[each.truth for each in one] for one in rounds])
        # Sums in another order may differ in the last digit.
        held = np.mean((lows - 1e-12 <= truth) & (truth <= highs + 1e-12), axis=0)
        widths = highs - lows
        line += (
            f"  {label}: {100 * held.mean():5.1f} % (least {100 * held.min():5.1f}), {100 * np.mean(widths):5.1f} wide"
        )
    print(line, flush=True)


def matrices_of(run: Run, refined: bool) -> Any:
    matrices = run.matrices(refined)
    assert matrices is not None, f"{run.name} has no matrices a picture"
    return matrices


def sides(variants: list[list[Run]], kinds: np.ndarray) -> Iterator[np.ndarray]:
    """The counts of a variant before or after the CRF, (pictures, seeds, 2, K)."""
    merge = np.eye(kinds.max() + 1)[kinds]
    for refined in (False, True):
        for runs in variants:
            matrices = [np.einsum("nij,ia,jb->nab", matrices_of(run, refined), merge, merge) for run in runs]
            yield np.stack([class_counts(each) for each in matrices], axis=1)


def pictures(counts: list[np.ndarray], count: int, rounds: int) -> list[list[Held]]:
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
            without.append(scores(jackknife.left_out(drawn)))
            resampled.append(mean_of([draws.miou(drawn[:, seed]) for seed in range(drawn.shape[1])]))
        one = []
        for i, j in pairs:
            plain = interval(resampled[i] - resampled[j])
            variance = jackknife.over_pictures(without[i] - without[j])
            wide = jackknife.widened(plain, float(estimate[i] - estimate[j]), variance)
            one.append(Held(plain, wide, float(truth[i] - truth[j])))
        found.append(one)
    return found


def scores(counts: np.ndarray) -> np.ndarray:
    """mIoU, mean over seeds: (..., seeds, 2, K) -> (...)."""
    return np.asarray(mean_over_classes(iou_of_counts(counts)).mean(-1))


def normal_seeds(seeds: int, ratio: float, shared: float, rounds: int) -> list[list[Held]]:
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
        found.append([Held(plain, jackknife.widened(plain, float((a - b).mean() + noise), total), 0.0)])
    return found


if __name__ == "__main__":
    main()
