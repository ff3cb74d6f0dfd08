"""The fully connected CRF (section 3.3); stands alone: numpy and torch, nothing else of this project."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeplab.crf.dense_crf import DenseCRF
    from deeplab.crf.kernels import FeatureKernel
    from deeplab.crf.params import CRFParams

__all__ = ["CRFParams", "DenseCRF", "FeatureKernel"]

_MODULES = {"CRFParams": "params", "DenseCRF": "dense_crf", "FeatureKernel": "kernels"}


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that `import deeplab.crf` costs nothing."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
