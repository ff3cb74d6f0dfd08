"""One picture refined with many parameters: what does not depend on them is made once."""

from __future__ import annotations

import importlib
from typing import Any

from deeplab.crf import backends
from deeplab.crf.approximations import approximate
from deeplab.crf.dense_crf import DenseCRF
from deeplab.crf.kernels import BilateralKernel, FloatArray, SpatialKernel
from deeplab.crf.params import CRFParams
from deeplab.crf.problem import Problem, Refinement, make_problem
from deeplab.crf.unary import check_scores


class ManyParameters:
    """The marginals of one picture for one CRFParams after the other, the same as DenseCRF's.

    With the native backend, parameters in a row that have a kernel's standard deviations and the normalisation in
    common share its lattice, for weights only rescale it: sort them so. One lattice of each kernel is kept.
    With other backends every call builds its own.

    probs, image: as for DenseCRF; their kind is the parameters' `unary`.

    Raises:
        ValueError: as DenseCRF does.
    """

    def __init__(self, probs: Any, image: Any, backend: str = "auto", num_threads: int | None = None) -> None:
        backends.check(backend)
        self._probs = probs
        self._image = image
        self._backend = backends.automatic() if backend == "auto" else backend
        self._num_threads = num_threads
        self._lattices: dict[type, tuple[object, Any]] = {}
        self.num_built = 0

    def __call__(self, params: CRFParams) -> FloatArray:
        """Return the marginals (K, H, W), float32."""
        if self._backend != "native":
            marginals: FloatArray = DenseCRF(params, self._backend, self._num_threads)(self._probs, self._image)
            return marginals
        problem = make_problem(self._probs, self._image, params, params.kernels())
        check_scores(problem.scores, params.unary)
        refined: FloatArray = approximate(problem, self._run, selects_labels=True).marginals
        return refined

    def _run(self, problem: Problem) -> Refinement:
        native: Any = importlib.import_module("deeplab.crf.native")
        terms = []
        for kernel in problem.kernels:
            key = (*_standard_deviations(kernel), problem.params.normalization, problem.shape)
            known = self._lattices.get(type(kernel))
            if known is None or known[0] != key:
                self._lattices.pop(type(kernel), None)  # before the next one is built: they are large
                known = (key, native.lattice(kernel, problem, self._num_threads))
                self._lattices[type(kernel)] = known
                self.num_built += 1
            terms.append((known[1], kernel.weight))
        refined: Refinement = native.refine(problem, terms, self._num_threads)
        return refined


def _standard_deviations(kernel: Any) -> tuple[float, ...]:
    if isinstance(kernel, BilateralKernel):
        return kernel.xy_std, kernel.rgb_std
    assert isinstance(kernel, SpatialKernel)
    return (kernel.xy_std,)
