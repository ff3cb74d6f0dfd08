"""One picture refined with many parameters: what does not depend on them is made once."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from deeplab.crf import backends
from deeplab.crf.approximations import approximate, pruned
from deeplab.crf.dense_crf import DenseCRF
from deeplab.crf.kernels import FloatArray
from deeplab.crf.params import CRFParams
from deeplab.crf.problem import Problem, Refinement, make_problem

LabelMap: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.int16]


class ManyParameters:
    """The marginals, or the labels, of one picture for one CRFParams after the other, the same as DenseCRF's.

    With the backends native and cuda, parameters in a row that have a kernel's standard deviations and the
    normalisation in common share its lattice, for weights only rescale it: sort them so. One lattice of each kernel is
    kept. With native the scores are checked once, and pruned once for each threshold; with cuda they stay on the
    device, and labels alone come back. With other backends every call builds its own.

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
        self._checked: dict[tuple[str, bool], tuple[float, ...] | None] = {}
        self._kept: tuple[object, Problem, list[int]] | None = None
        self._on_device: tuple[Any, Any] | None = None
        self.num_built = 0

    def __call__(self, params: CRFParams) -> FloatArray:
        """Return the marginals (K, H, W), float32."""
        if self._backend == "cuda":
            found: FloatArray = self._on_gpu(params).cpu().numpy()
            return found
        if self._backend != "native":
            marginals: FloatArray = DenseCRF(params, self._backend, self._num_threads)(self._probs, self._image)
            return marginals
        refined: FloatArray = approximate(self._problem(params), self._run, selects_labels=True).marginals
        return refined

    def labels(self, params: CRFParams) -> LabelMap:
        """Return the most probable label of each pixel (H, W): uint8, or int16 for more than 256 labels."""
        if self._backend == "native" and params.prune_below > 0:
            smaller, kept = self._pruned(self._problem(params))
            best = approximate(smaller, self._run).marginals.argmax(axis=0)
            return _narrow(np.array(kept)[best], len(self._probs))
        if self._backend == "cuda":
            return _narrow(self._on_gpu(params).argmax(dim=0).cpu().numpy(), len(self._probs))
        return _narrow(np.asarray(self(params).argmax(axis=0)), len(self._probs))

    def _on_gpu(self, params: CRFParams) -> Any:
        """Return the marginals, a tensor on the GPU."""
        import torch

        from deeplab.crf.cuda_backend import device_of, refine_all

        if self._on_device is None:
            device = device_of([self._probs])
            scores = torch.as_tensor(self._probs).to(device)
            self._on_device = scores, None if self._image is None else torch.as_tensor(self._image).to(device)
        scores, image = self._on_device
        kernels = tuple(kernel for kernel in params.kernels() if kernel.weight > 0)
        return refine_all([scores], [image], params, kernels, kept=self._lattices)[0].marginals

    def _problem(self, params: CRFParams) -> Problem:
        problem = make_problem(self._probs, self._image, params, params.kernels())
        key = (params.unary, params.prune_below > 0)
        if key not in self._checked:
            self._checked[key] = backends.checked(problem, "native", self._num_threads).highest
        return replace(problem, highest=self._checked[key])

    def _pruned(self, problem: Problem) -> tuple[Problem, list[int]]:
        params = problem.params
        key = (params.prune_below, params.unary, params.compatibility)
        if self._kept is None or self._kept[0] != key:
            self._kept = (key, *pruned(problem))
        _, smaller, kept = self._kept
        params = replace(params, prune_below=0.0, compatibility=smaller.params.compatibility)
        return replace(smaller, params=params, kernels=problem.kernels), kept

    def _run(self, problem: Problem) -> Refinement:
        native: Any = importlib.import_module("deeplab.crf.native")
        terms = []
        for kernel in problem.kernels:
            key = (replace(kernel, weight=1.0), problem.params.normalization, problem.shape)
            known = self._lattices.get(type(kernel))
            if known is None or known[0] != key:
                self._lattices.pop(type(kernel), None)  # before the next one is built: they are large
                known = (key, native.lattice(kernel, problem, self._num_threads))
                self._lattices[type(kernel)] = known
                self.num_built += 1
            terms.append((known[1], kernel.weight))
        refined: Refinement = native.refine(problem, terms, self._num_threads)
        return refined


def _narrow(labels: npt.NDArray[Any], num_classes: int) -> LabelMap:
    return labels.astype(np.uint8) if num_classes <= 256 else labels.astype(np.int16)
