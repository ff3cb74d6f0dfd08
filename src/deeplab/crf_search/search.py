"""The search itself: coarse grid, refinement around the winner, and the score on pictures that took no part."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deeplab.crf_search.cells import AXES, Cell, Values, around, at_edge, grid
from deeplab.crf_search.gain import Gain, gain_over
from deeplab.crf_search.scorer import Scorer
from deeplab.crf_search.store import Setting
from deeplab.crf_search.tallies import mean_iou
from deeplab.errors import InputError


@dataclass(frozen=True)
class Plan:
    """What is searched: values of the coarse grid, offsets of the refinement (made `refine_rounds` times at most)."""

    coarse: Values
    refine: Values
    refine_rounds: int = 1
    bootstrap: int = 10_000
    seed: int = 0


@dataclass(frozen=True)
class Comparison:
    """mIoU of some pictures without and with the CRF, as fractions of 1, and the paired bootstrap of the gain."""

    num_pictures: int
    miou: float
    miou_crf: float
    gain: Gain


@dataclass(frozen=True)
class Found:
    """What a search found; `mious` has every cell that was scored, in order of the search: first the `coarse` ones.

    `coarse` is 0 for cells at random places, as a sweeper chooses them.
    """

    mious: dict[Cell, float]
    coarse: int
    coarse_best: Cell
    best: Cell
    searched: Comparison
    held_out: Comparison | None

    @property
    def improves(self) -> bool:
        """Whether any cell beats no CRF on the pictures searched."""
        return self.searched.miou_crf > self.searched.miou

    def edges(self) -> list[str]:
        """Name the parameters whose best value is the smallest or the largest that was tried."""
        return at_edge(self.best, {axis: [getattr(cell, axis) for cell in self.mious] for axis in AXES})


def draw(ids: Sequence[str], count: int, held_out: int | None, seed: int) -> tuple[list[int], list[int]]:
    """Choose by seed `count` pictures to search on and `held_out` others (None: all others) to score the winner on.

    The choice depends on the set of ids, not on their order. Returns indices. Raises InputError for a count below 1.
    """
    if count < 1 or (held_out is not None and held_out < 0):
        raise InputError(
            f"search.num_pictures={count} and search.num_held_out={held_out}: at least 1 picture to search on, and 0 "
            "or more held out."
        )
    in_order = sorted(range(len(ids)), key=lambda index: ids[index])
    shuffled = [in_order[i] for i in np.random.default_rng(seed).permutation(len(ids))]
    rest = shuffled[count:]
    return shuffled[:count], rest if held_out is None else rest[:held_out]


def check(plan: Plan, processes: int) -> None:
    """Raise InputError for what can be known to be wrong before any work."""
    grid(plan.coarse)
    if plan.refine_rounds < 0 or plan.bootstrap < 1 or processes < 1:
        raise InputError(
            f"search.refine_rounds={plan.refine_rounds}, search.bootstrap={plan.bootstrap}, search.processes="
            f"{processes}: the rounds are 0 or more, the others at least 1."
        )


def search(plan: Plan, scorer: Scorer, searched: Sequence[int], held_out: Sequence[int]) -> Found:
    """Search on the pictures `searched` (indices), then compare the winner with no CRF on those `held_out`.

    Of equal cells the first in order wins. Raises InputError as the parts do, and for pictures without any label.
    """
    cells = grid(plan.coarse)
    mious = score_cells(scorer, searched, cells, "coarse grid")
    coarse_best = best = best_of(mious)
    for number in range(plan.refine_rounds):
        new = [cell for cell in around(best, plan.refine) if cell not in mious]
        if not new:
            break
        what = "refinement" if plan.refine_rounds == 1 else f"refinement {number + 1}"
        mious |= score_cells(scorer, searched, new, what)
        best = best_of(mious)
    others = check_on(plan, scorer, held_out, best)
    return Found(mious, len(cells), coarse_best, best, compare(plan, scorer, searched, best), others)


def score_cells(scorer: Scorer, indices: Sequence[int], cells: list[Cell], what: str) -> dict[Cell, float]:
    """Return each cell's mIoU over the pictures; raises InputError for pictures without any label."""
    settings: list[Setting] = [None, *cells]
    tallies = scorer.score(indices, settings, what)
    scores = mean_iou(tallies.sum(axis=1))
    if np.isnan(scores).any():
        raise InputError("No pixel of the pictures is labelled (all are 255, void): nothing can be scored.")
    return {cell: float(value) for cell, value in zip(cells, scores[1:], strict=True)}


def best_of(mious: dict[Cell, float]) -> Cell:
    """Return the cell of the highest mIoU, of equal ones the first."""
    return max(mious, key=lambda cell: mious[cell])


def check_on(plan: Plan, scorer: Scorer, held_out: Sequence[int], best: Cell) -> Comparison | None:
    """Compare the winner with no CRF on the pictures held out; None without any, or if none of their pixels counts."""
    others = compare(plan, scorer, held_out, best, keep=False) if held_out else None
    return None if others is None or math.isnan(others.miou) else others


def compare(plan: Plan, scorer: Scorer, indices: Sequence[int], best: Cell, keep: bool = True) -> Comparison:
    """Compare a cell with no CRF on the pictures; `keep` leaves their scores on the disk."""
    before, after = scorer.score(indices, [None, best], "winner" if keep else "held-out pictures", keep)
    mious = mean_iou(np.stack([before.sum(0), after.sum(0)]))
    gain = gain_over(before, after, plan.bootstrap, plan.seed)
    return Comparison(len(indices), float(mious[0]), float(mious[1]), gain)
