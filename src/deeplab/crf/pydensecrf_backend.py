"""The field's reference implementation (distribution pydensecrf2), kept for comparison."""

from __future__ import annotations

from typing import Any

import numpy as np

from deeplab.crf.kernels import BilateralKernel, Kernel, SpatialKernel, features
from deeplab.crf.problem import Problem, Refinement
from deeplab.crf.unary import unary_energy

_LARGEST = 1e6  # of a feature; far larger ones overflow its whole numbers, and it then writes beyond its arrays


def refine(problem: Problem, trace: bool = False) -> Refinement:
    """Refine as pydensecrf does, on one thread.

    Raises:
        ValueError: for features that are too large, and for a trace; pydensecrf counts every pair twice in its own
            divergence and has no energy.
    """
    if trace:
        raise ValueError("backend 'pydensecrf' keeps no trace: choose native, torch or exact")
    import pydensecrf.densecrf as dcrf

    K, (H, W) = problem.num_classes, problem.shape
    params = problem.params
    crf = dcrf.DenseCRF2D(W, H, K)
    crf.setUnaryEnergy(_writable(unary_energy(problem.scores, params.unary).reshape(K, -1)))
    modes = {"symmetric": dcrf.NORMALIZE_SYMMETRIC, "after": dcrf.NORMALIZE_AFTER}
    for kernel in problem.kernels:
        _add(crf, kernel, problem, {"normalization": modes[params.normalization]})
    if problem.initial is None and params.tolerance == 0:
        Q = crf.inference(params.iterations)
        return Refinement(np.array(Q, dtype=np.float32).reshape(K, H, W), params.iterations)
    return _stepwise(crf, problem)


def _add(crf: Any, kernel: Kernel, problem: Problem, options: dict[str, Any]) -> None:
    penalties = problem.params.compatibility
    compat: Any = kernel.weight if penalties is None else kernel.weight * np.array(penalties, dtype=np.float32)
    if isinstance(kernel, SpatialKernel):
        crf.addPairwiseGaussian(sxy=kernel.xy_std, compat=compat, **options)
    elif isinstance(kernel, BilateralKernel):
        image = _writable(problem.image)
        crf.addPairwiseBilateral(sxy=kernel.xy_std, srgb=kernel.rgb_std, rgbim=image, compat=compat, **options)
    else:
        given = features(kernel, problem.shape, problem.image)
        if float(np.abs(given).max()) > _LARGEST:
            raise ValueError(f"features beyond {_LARGEST:g} standard deviations: pydensecrf would end the process")
        crf.addPairwiseEnergy(given, compat=compat, **options)


def _stepwise(crf: Any, problem: Problem) -> Refinement:
    K, (H, W) = problem.num_classes, problem.shape
    Q, scratch, more = crf.startInference()
    view = np.asarray(Q)
    if problem.initial is not None:
        view[:] = problem.initial.reshape(K, -1)
    steps = 0
    for _ in range(problem.params.iterations):
        before = view.copy()
        crf.stepInference(Q, scratch, more)
        steps += 1
        if np.abs(np.asarray(Q) - before).max() <= problem.params.tolerance > 0:
            break
    return Refinement(np.array(Q, dtype=np.float32).reshape(K, H, W), steps)


def _writable(array: Any) -> Any:
    # pydensecrf refuses read-only arrays and arrays that are not C-contiguous.
    if array.flags.writeable and array.flags.c_contiguous:
        return array
    return np.array(array, order="C")
