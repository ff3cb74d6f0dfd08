"""Which implementations of the mean field can run here, and which one `auto` takes."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from collections.abc import Callable
from typing import Any, TypeAlias

from deeplab.crf.problem import Problem, Refinement
from deeplab.crf.unary import check_scores

log = logging.getLogger(__name__)

BACKENDS = ("auto", "native", "cuda", "torch", "exact", "pydensecrf")

MAX_THREADS = 1024

Run: TypeAlias = Callable[[Problem, bool], Refinement]  # a picture, and whether to trace it


def check(backend: str) -> None:
    """Reject a backend that does not exist or cannot run here.

    Raises:
        ValueError: naming the backend and what would make it available.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend = {backend!r}: choose one of {', '.join(BACKENDS)}")
    if backend != "auto" and (reason := missing(backend)):
        raise ValueError(f"backend = {backend!r} is not available: {reason}, or choose backend='auto'")


def check_threads(num_threads: int | None) -> None:
    """Reject a number of threads that is none; each takes memory of its own, so there is a largest.

    Raises:
        ValueError: naming it.
    """
    whole = isinstance(num_threads, int) and not isinstance(num_threads, bool)
    if num_threads is not None and not (whole and 1 <= num_threads <= MAX_THREADS):
        raise ValueError(f"num_threads = {num_threads!r}: expected 1 to {MAX_THREADS}, or None for all cores")


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def missing(backend: str) -> str:
    """Return what would make the backend available, or an empty string if it is."""
    if backend == "native" and not _importable("deeplab.crf._native"):
        return "install the package again where a C++ compiler is at hand"
    if backend in ("torch", "cuda") and not _importable("torch"):
        return "install torch"
    if backend == "cuda" and not _importable("triton"):
        return "install triton, which comes with torch's builds for CUDA"
    if backend == "cuda" and not _has_gpu():
        return "it needs an NVIDIA GPU that torch can use"
    if backend == "pydensecrf" and not _importable("pydensecrf"):
        return "install the distribution pydensecrf2 (Python 3.11 or 3.12, C++ compiler)"
    return ""


def automatic(device: str = "cpu") -> str:
    """Return the fastest available backend for arrays, or for tensors of this kind of device, and log it.

    On a GPU cuda, else torch; elsewhere native, else torch, else pydensecrf, else exact.
    """
    if device == "cuda":
        return _automatic_on_gpu()
    if not missing("native"):
        log.info("dense CRF: backend native")
        return "native"
    for backend in ("torch", "pydensecrf"):
        if not missing(backend):
            log.warning("dense CRF: backend %s, several times slower than native: %s", backend, missing("native"))
            return backend
    log.warning("dense CRF: backend exact, for tiny pictures only: %s", missing("native"))
    return "exact"


def _automatic_on_gpu() -> str:
    if reason := missing("cuda"):
        log.warning("dense CRF: backend torch on the GPU, slower than cuda: %s", reason)
        return "torch"
    log.info("dense CRF: backend cuda")
    return "cuda"


def checked(problem: Problem, backend: str, num_threads: int | None) -> Problem:
    """Check one picture's scores, on as many cores as the backend has.

    Raises:
        ValueError: as `unary.check_scores` does.
    """
    if backend == "native":
        native: Any = importlib.import_module("deeplab.crf.native")
        found: Problem = native.checked(problem, num_threads)
        return found
    check_scores(problem.scores, problem.params.unary)
    return problem


def load(backend: str, num_threads: int | None) -> Run:
    """Return the function that refines one picture with this backend; num_threads None takes all cores.

    Not of cuda, whose pictures stay on the device: `cuda_backend.refine_all`.
    """
    if backend == "native":
        native: Any = importlib.import_module("deeplab.crf.native")
        return lambda problem, trace: native.refine_picture(problem, num_threads, trace)
    if backend == "torch":
        from deeplab.crf import torch_backend

        return lambda problem, trace: torch_backend.refine(problem, num_threads, trace)
    if backend == "pydensecrf":
        from deeplab.crf import pydensecrf_backend

        return pydensecrf_backend.refine
    from deeplab.crf import exact

    return exact.refine


def _has_gpu() -> bool:
    # Triton's interpreter runs the kernels on the CPU, for tests.
    if os.environ.get("TRITON_INTERPRET") == "1":
        return True
    import torch

    return torch.version.hip is None and torch.cuda.is_available()


def _importable(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
