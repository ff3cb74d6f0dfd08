"""The C++ backend: permutohedral lattices laid out for the cache, on all cores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from deeplab.crf import _native
from deeplab.crf.kernels import BilateralKernel, Kernel, SpatialKernel, features
from deeplab.crf.problem import Problem, Refinement
from deeplab.crf.unary import check_range, check_scores


def lattice(kernel: Kernel, problem: Problem, num_threads: int | None) -> Any:
    """Return the lattice of one kernel; it depends on the kernel's standard deviations and not on its weight.

    Raises:
        ValueError: if the features span too many standard deviations.
    """
    symmetric, threads = problem.params.normalization == "symmetric", num_threads or 0
    H, W = problem.shape
    if isinstance(kernel, SpatialKernel):
        return _native.spatial(H, W, kernel.xy_std, symmetric, True, threads)
    if isinstance(kernel, BilateralKernel):
        return _native.bilateral(problem.image, kernel.xy_std, kernel.rgb_std, symmetric, threads)
    return _native.features(features(kernel, problem.shape, problem.image), symmetric, threads)


def checked(problem: Problem, num_threads: int | None) -> Problem:
    """Check the scores, as `unary.check_scores` does on one core; what else is learnt by it goes into the problem.

    Raises:
        ValueError: as `unary.check_scores` does.
    """
    kind, threads = problem.params.unary, num_threads or 0
    lowest, highest = _native.ranges(problem.scores, threads)
    if not check_range(min(lowest), max(highest), kind):
        check_scores(problem.scores, kind)
    if problem.params.prune_below > 0:
        tops = _native.tops(problem.scores, threads) if kind == "logits" else highest
        return replace(problem, highest=tuple(tops))
    return problem


def refine(
    problem: Problem, terms: Sequence[tuple[Any, float]], num_threads: int | None, trace: bool = False
) -> Refinement:
    """Refine with lattices that are built already, for example for another weight.

    terms: (lattice, weight) of each kernel.

    Raises:
        ValueError: if a score is NaN or infinite.
    """
    params = problem.params
    penalties = None if params.compatibility is None else np.array(params.compatibility, dtype=np.float32)
    marginals, finite, steps, energies, divergences = _native.mean_field(
        problem.scores,
        list(terms),
        params.iterations,
        params.unary == "logits",
        params.tolerance,
        penalties,
        problem.initial,
        list(problem.labels or ()),
        problem.idle_below,
        trace,
        num_threads or 0,
    )
    if not finite:
        raise ValueError("scores hold NaN or infinity: the CRF needs finite ones")
    return Refinement(marginals, steps, tuple(energies), tuple(divergences))


def refine_picture(problem: Problem, num_threads: int | None, trace: bool = False) -> Refinement:
    """Build the lattices and refine; num_threads None takes all cores."""
    terms = [(lattice(kernel, problem, num_threads), kernel.weight) for kernel in problem.kernels]
    return refine(problem, terms, num_threads, trace)
