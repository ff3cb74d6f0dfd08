"""DenseCRF: class scores and the picture in, refined marginals out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from deeplab.crf import backends
from deeplab.crf.approximations import approximate
from deeplab.crf.kernels import FeatureKernel, FloatArray, Kernel
from deeplab.crf.params import CRFParams
from deeplab.crf.problem import Refinement, make_problem


class DenseCRF:
    """Mean field of the fully connected CRF (section 3.3, equations 2 and 3).

    backend: "native" (C++), "cuda" (Triton; arrays and other tensors are taken to the GPU and back), "torch", "exact"
        (brute force), "pydensecrf", or "auto": the fastest here, which for tensors on a GPU is cuda.
    num_threads: of the native and torch backends; None takes all cores that the process may use.
    kernels: further kernels for every picture, beside the two of the parameters (weight 0 removes those).

    Raises:
        ValueError: if the backend does not exist or is not installed, or if an argument is none of these.
    """

    def __init__(
        self,
        params: CRFParams | None = None,
        backend: str = "auto",
        num_threads: int | None = None,
        kernels: Sequence[Kernel] = (),
    ) -> None:
        backends.check_threads(num_threads)
        backends.check(backend)
        if not isinstance(params, CRFParams | None):
            raise ValueError(f"params = {params!r}: expected CRFParams, or None for its defaults")
        self.params = CRFParams() if params is None else params
        self._auto = backend == "auto"
        self._elsewhere: str | None = None if self._auto else backend
        self._on_gpu: str | None = None
        self._num_threads = num_threads
        self._kernels = _checked_kernels(kernels)

    @property
    def backend(self) -> str:
        """The implementation that refines arrays and tensors in main memory; `auto` chooses when it is first needed."""
        if self._elsewhere is None:
            self._elsewhere = backends.automatic()
        return self._elsewhere

    def __call__(
        self, probs: Any, image: Any = None, *, kernels: Sequence[FeatureKernel] = (), initial: Any = None
    ) -> Any:
        """Refine one picture.

        probs: (K, H, W) floating point, probabilities or raw scores as `params.unary` says.
        image: (H, W, 3) uint8 RGB, at the scores' size; None where no kernel is bilateral.
        kernels: further kernels, on features of this picture.
        initial: marginals (K, H, W) to start from, for example the previous frame's.
        Returns the marginals (K, H, W) float32: an array for an array, a tensor on the same device for a tensor.

        Raises:
            ValueError: for shapes or types that do not fit, NaN or infinity, or probabilities beyond 0..1.
        """
        return self._refine(probs, image, kernels, initial, trace=False).marginals

    def trace(
        self, probs: Any, image: Any = None, *, kernels: Sequence[FeatureKernel] = (), initial: Any = None
    ) -> Refinement:
        """Refine one picture and follow the mean field: arguments as for a call.

        Returns the marginals, the iterations done (fewer than asked for if `params.tolerance` stopped it), and the
        energy and divergence before each iteration and at the end. With an approximation those are the smaller
        problem's: without the left-out labels, at half the size.

        Raises:
            ValueError: as a call does, and for the backend pydensecrf, which keeps no trace.
        """
        return self._refine(probs, image, kernels, initial, trace=True)

    def batch(self, probs: Sequence[Any], images: Sequence[Any]) -> list[Any]:
        """Refine several pictures of any sizes, in order; arguments and results as for one.

        probs, images: sequences, or for one size also arrays or tensors (B, K, H, W) and (B, H, W, 3).

        Raises:
            ValueError: if there are not as many images as score maps.
        """
        if not (hasattr(probs, "__len__") and hasattr(images, "__len__")):
            raise ValueError(f"expected sequences of score maps and images, not {type(probs)} and {type(images)}")
        if len(probs) != len(images):
            raise ValueError(f"{len(probs)} score maps but {len(images)} images: give one image a map")
        if len(probs) and all(self._backend_for(scores) == "cuda" for scores in probs):
            refined = self._refine_on_gpu(probs, images, self._all_kernels(()), None, trace=False)
            return [result.marginals for result in refined]
        return [self(scores, image) for scores, image in zip(probs, images, strict=True)]

    def _backend_for(self, probs: Any) -> str:
        if not (self._auto and getattr(probs, "is_cuda", False)):
            return self.backend
        if self._on_gpu is None:
            self._on_gpu = backends.automatic("cuda")
        return self._on_gpu

    def _all_kernels(self, kernels: Sequence[Kernel]) -> tuple[Kernel, ...]:
        own = _checked_kernels(kernels)
        return tuple(k for k in (*self.params.kernels(), *self._kernels, *own) if k.weight > 0)

    def _refine(
        self, probs: Any, image: Any, kernels: Sequence[FeatureKernel], initial: Any, trace: bool
    ) -> Refinement:
        backend = self._backend_for(probs)
        if backend == "cuda":
            return self._refine_on_gpu([probs], [image], self._all_kernels(kernels), [initial], trace)[0]
        problem = make_problem(probs, image, self.params, self._all_kernels(kernels), initial)
        problem = backends.checked(problem, backend, self._num_threads)
        run = backends.load(backend, self._num_threads)
        result = approximate(problem, lambda smaller: run(smaller, trace), backend == "native")
        return replace(result, marginals=_like(result.marginals, probs))

    def _refine_on_gpu(
        self,
        probs: Sequence[Any],
        images: Sequence[Any],
        kernels: tuple[Kernel, ...],
        initials: Sequence[Any] | None,
        trace: bool,
    ) -> list[Refinement]:
        from deeplab.crf.cuda_backend import refine_all

        results = refine_all(probs, images, self.params, kernels, initials, trace)
        return [
            replace(
                result,
                marginals=result.marginals.cpu().numpy()
                if isinstance(scores, np.ndarray)
                else result.marginals.to(scores.device),
            )
            for scores, result in zip(probs, results, strict=True)
        ]


def _checked_kernels(kernels: Any) -> tuple[Kernel, ...]:
    """Raise ValueError for what is no sequence of kernels."""
    given = tuple(kernels) if isinstance(kernels, Iterable) else (kernels,)
    for kernel in given:
        if not isinstance(kernel, Kernel):
            raise ValueError(f"kernels = {kernels!r}: expected a sequence of kernels, such as FeatureKernel")
    return given


def _like(result: FloatArray, given: Any) -> Any:
    if isinstance(given, np.ndarray):
        return result
    import torch

    return torch.from_numpy(result).to(given.device)
