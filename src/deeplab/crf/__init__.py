"""The fully connected CRF (section 3.3); stands alone: numpy and torch, nothing else of this project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeplab.crf.dense_crf import DenseCRF
    from deeplab.crf.params import CRFParams

__all__ = ["CRFParams", "DenseCRF"]


def __getattr__(name: str) -> Any:
    """Import the two public names on first use, so that `import deeplab.crf` costs nothing."""
    if name == "CRFParams":
        from deeplab.crf.params import CRFParams

        return CRFParams
    if name == "DenseCRF":
        from deeplab.crf.dense_crf import DenseCRF

        return DenseCRF
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
