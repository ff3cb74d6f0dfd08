"""Which implementations of the mean field can run here, and which one `auto` takes."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable
from typing import Any, TypeAlias

from deeplab.crf.problem import Problem, Refinement

log = logging.getLogger(__name__)

BACKENDS = ("auto", "native", "torch", "exact", "pydensecrf")

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


def missing(backend: str) -> str:
    """Return what would make the backend available, or an empty string if it is."""
    if backend == "native" and not _importable("deeplab.crf._native"):
        return "install the package again where a C++ compiler is at hand"
    if backend == "torch" and not _importable("torch"):
        return "install torch"
    if backend == "pydensecrf" and not _importable("pydensecrf"):
        return "install the distribution pydensecrf2 (Python 3.11 or 3.12, C++ compiler)"
    return ""


def automatic() -> str:
    """Return the fastest available backend and log it: native, else torch, else pydensecrf, else exact."""
    if not missing("native"):
        log.info("dense CRF: backend native")
        return "native"
    for backend in ("torch", "pydensecrf"):
        if not missing(backend):
            log.warning("dense CRF: backend %s, several times slower than native: %s", backend, missing("native"))
            return backend
    log.warning("dense CRF: backend exact, for tiny pictures only: %s", missing("native"))
    return "exact"


def load(backend: str, num_threads: int | None) -> Run:
    """Return the function that refines one picture with this backend; num_threads None takes all cores."""
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


def _importable(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
