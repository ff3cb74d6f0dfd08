"""Near-boundary scores: all 40 widths against one, in one pass and in 40.

    python benchmarks/boundary.py [--pictures 40] [--height 375] [--width 500] [--classes 21] [--rounds 5]

Counts the bands of the trimap for pictures of random blocks with void outlines: widths 1 to 40 at once, the width 40
alone, and 40 times one width, one after the other in every round. Aim: 40 widths cost at most 2 times one.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import cv2
import numpy as np

from deeplab.metrics.boundary import VOID, WIDTHS, band_confusion, void_distance

Picture = tuple[np.ndarray, np.ndarray]


def make(options: argparse.Namespace) -> list[Picture]:
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(options.pictures):
        coarse = rng.integers(0, options.classes, (4, 5)).astype(np.uint8)
        truth = cv2.resize(coarse, (options.width, options.height), interpolation=cv2.INTER_NEAREST)
        found = np.roll(truth, (3, 5), axis=(0, 1))
        square = np.ones((5, 5), np.uint8)
        truth[cv2.dilate(truth, square) != cv2.erode(truth, square)] = VOID
        pictures.append((found, truth))
    return pictures


def all_widths(found: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    return band_confusion(found, truth, void_distance(truth), classes)


def one_width(found: np.ndarray, truth: np.ndarray, classes: int, width: int = WIDTHS[-1]) -> np.ndarray:
    """As one would count a single band: a mask, and a confusion matrix of what is in it."""
    distance = void_distance(truth)
    inside = (distance >= 1) & (distance <= width) & (truth != VOID)
    pairs = truth[inside].astype(np.int64) * classes + found[inside]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def one_by_one(found: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    return np.stack([one_width(found, truth, classes, width) for width in WIDTHS])


def timed(work: Callable[[np.ndarray, np.ndarray, int], np.ndarray], pictures: list[Picture], classes: int) -> float:
    start = time.process_time()
    for found, truth in pictures:
        work(found, truth, classes)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("pictures", 40), ("height", 375), ("width", 500), ("classes", 21), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    pictures = make(options)
    found, truth = pictures[0]
    assert (all_widths(found, truth, options.classes) == one_by_one(found, truth, options.classes)).all()
    ways = {"40 widths at once": all_widths, "one width": one_width, "40 widths one by one": one_by_one}
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, work in ways.items():
            seconds[name].append(timed(work, pictures, options.classes))
            ratios[name].append(seconds[name][-1])
        one = seconds["one width"][-1]
        for name in ways:
            ratios[name][-1] /= one
    for name in ways:
        each = 1000 * median(seconds[name]) / options.pictures
        print(f"{name:22} {each:7.2f} ms of processor time a picture, {median(ratios[name]):6.2f} times one width")


if __name__ == "__main__":
    main()
