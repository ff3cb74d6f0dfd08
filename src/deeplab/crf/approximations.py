"""Approximations of the mean field that are off by default; their measured errors are in docs/crf.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from deeplab.crf.kernels import (
    BilateralKernel,
    ByteArray,
    FeatureKernel,
    FloatArray,
    Kernel,
    SpatialKernel,
    features_fit,
    given_features,
)
from deeplab.crf.problem import Problem, Refinement
from deeplab.crf.unary import softmax, unary_energy

LEAST = 1e-35  # of a marginal whose logarithm is taken: a backend's exponential may be 0 below it, and another's not


def approximate(problem: Problem, run: Callable[[Problem], Refinement], selects_labels: bool = False) -> Refinement:
    """Refine with `run`, by way of a smaller problem if the parameters ask for one.

    selects_labels: whether `run` heeds `Problem.labels`, so that no scores need to be copied.
    """
    if problem.params.prune_below > 0:
        return _pruned(problem, run, selects_labels)
    return _at_half_size(problem, run) if problem.params.half_resolution else run(problem)


def pruned(problem: Problem, copies: bool = True) -> tuple[Problem, list[int]]:
    """Return the problem of the labels that `prune_below` keeps, and which these are.

    They compete among themselves: after an update their marginals add up to 1. copies: keep their scores alone; else
    name them in `Problem.labels`.
    """
    kept = _labels_to_keep(problem)
    problem = replace(problem, idle_below=problem.params.prune_below, highest=None)
    params = replace(problem.params, prune_below=0.0)
    if params.compatibility is not None:
        params = replace(params, compatibility=tuple(tuple(params.compatibility[k][j] for j in kept) for k in kept))
    if len(kept) == problem.num_classes:
        return replace(problem, params=params), kept
    if not copies:
        return replace(problem, params=params, labels=tuple(kept)), kept
    initial = None if problem.initial is None else np.ascontiguousarray(problem.initial[kept])
    scores = np.ascontiguousarray(problem.scores[kept])
    return replace(problem, params=params, scores=scores, initial=initial), kept


def _pruned(problem: Problem, run: Callable[[Problem], Refinement], selects_labels: bool) -> Refinement:
    selects = selects_labels and not problem.params.half_resolution
    smaller, kept = pruned(problem, copies=not selects)
    result = approximate(smaller, run)
    if selects or len(kept) == problem.num_classes:
        return result
    marginals = np.zeros_like(problem.scores)
    marginals[kept] = result.marginals
    return replace(result, marginals=marginals)


def _labels_to_keep(problem: Problem) -> list[int]:
    """Return the labels whose probability reaches `prune_below` somewhere, the most probable one in any case."""
    highest = np.array(_highest(problem) if problem.highest is None else problem.highest, dtype=np.float32)
    threshold = min(np.float32(problem.params.prune_below), highest.max())
    return [int(k) for k in np.flatnonzero(highest >= threshold)]


def _highest(problem: Problem) -> FloatArray:
    scores = problem.scores
    probs = softmax(-scores) if problem.params.unary == "logits" else scores
    highest: FloatArray = probs.reshape(len(probs), -1).max(axis=1)
    return highest


def _at_half_size(problem: Problem, run: Callable[[Problem], Refinement]) -> Refinement:
    # What the neighbours of a pixel say, log Q + U, is smooth; its own evidence U is not, and is taken at full size.
    small = halved(problem)
    result = run(small)
    messages = np.log(np.maximum(result.marginals, np.float32(LEAST))) + unary_energy(small.scores, small.params.unary)
    H, W = problem.shape
    energy = unary_energy(problem.scores, problem.params.unary)
    energy -= _doubled(_doubled(messages, 1)[:, :H], 2)[:, :, :W]
    return replace(result, marginals=softmax(energy))


def halved(problem: Problem) -> Problem:
    """Return the problem on means of 2 x 2 pixels, standard deviations in pixels halved."""
    kernels = tuple(_halved_kernel(kernel, problem.shape) for kernel in problem.kernels)
    image: ByteArray | None = None
    if problem.image is not None:
        planes = _means(problem.image.transpose(2, 0, 1).astype(np.float32))
        image = np.ascontiguousarray(np.rint(planes).astype(np.uint8).transpose(1, 2, 0))
    initial = None if problem.initial is None else _means(problem.initial)
    params = replace(problem.params, half_resolution=False)
    return replace(problem, scores=_means(problem.scores), image=image, kernels=kernels, params=params, initial=initial)


def _halved_kernel(kernel: Kernel, shape: tuple[int, int]) -> Kernel:
    if isinstance(kernel, FeatureKernel):
        given = given_features(kernel)
        # Halves are as large of one row or column more or less.
        features_fit(given.shape, shape, bool(np.isfinite(given).all()))
        return FeatureKernel(kernel.weight, _means(given))
    if isinstance(kernel, BilateralKernel):
        return BilateralKernel(kernel.weight, kernel.xy_std / 2, kernel.rgb_std)
    return SpatialKernel(kernel.weight, kernel.xy_std / 2)


def _means(planes: FloatArray) -> FloatArray:
    """Return means of 2 x 2 pixels of (C, H, W); an odd last row or column counts twice."""
    _, H, W = planes.shape
    even = np.pad(planes, ((0, 0), (0, H % 2), (0, W % 2)), mode="edge") if H % 2 or W % 2 else planes
    sums = even[:, 0::2] + even[:, 1::2]
    result: FloatArray = (sums[:, :, 0::2] + sums[:, :, 1::2]) * np.float32(0.25)
    return result


def _doubled(planes: FloatArray, axis: int) -> FloatArray:
    """Interpolate (C, H, W) linearly to twice its size along an axis, centres at a quarter and three quarters."""
    moved = np.moveaxis(planes, axis, 0)
    near = moved * np.float32(0.75)
    far = moved * np.float32(0.25)
    result = np.repeat(near, 2, axis=0)
    result[2::2] += far[:-1]
    result[0] += far[0]
    result[1:-1:2] += far[1:]
    result[-1] += far[-1]
    return np.moveaxis(result, 0, axis)
