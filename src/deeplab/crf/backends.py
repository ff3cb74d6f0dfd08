"""Which implementations of the mean field can run here, and which one `auto` takes."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable
from typing import Any

from deeplab.crf.kernels import FloatArray
from deeplab.crf.problem import Problem

log = logging.getLogger(__name__)

BACKENDS = ("auto", "native", "exact", "pydensecrf")


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
    if backend == "pydensecrf" and not _importable("pydensecrf"):
        return "install the distribution pydensecrf2 (Python 3.11 or 3.12, C++ compiler)"
    return ""


def automatic() -> str:
    """Return the fastest available backend for arrays on the CPU, and log it."""
    for backend in ("native", "pydensecrf"):
        if not missing(backend):
            if backend != "native":
                log.warning("dense CRF: backend %s, several times slower: %s", backend, missing("native"))
            else:
                log.info("dense CRF: backend native")
            return backend
    log.warning("dense CRF: backend exact, for tiny pictures only: %s", missing("native"))
    return "exact"


def numpy_backend(backend: str, num_threads: int | None) -> Callable[[Problem], FloatArray]:
    """Return the function that refines one picture with this backend; num_threads None takes all cores."""
    if backend == "native":
        native: Any = importlib.import_module("deeplab.crf.native")
        return lambda problem: native.marginals(problem, num_threads)
    if backend == "pydensecrf":
        from deeplab.crf import pydensecrf_backend

        return pydensecrf_backend.marginals
    from deeplab.crf import exact

    return exact.marginals


def _importable(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
