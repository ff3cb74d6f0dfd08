"""From class scores to the unary energies theta_i of equation 2, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from deeplab.crf.kernels import FloatArray

CLIP = np.float32(1e-5)  # pydensecrf's: no label costs more than 11.5


def check_scores(scores: FloatArray, kind: str) -> None:
    """Reject scores that hold NaN or infinity, and probabilities outside 0..1.

    Raises:
        ValueError: naming one such value and where it is.
    """
    lowest, highest = float(scores.min()), float(scores.max())
    if check_range(lowest, highest, kind):
        return
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        finite = np.isfinite(scores)
        k, y, x = (int(i[0]) for i in np.nonzero(~finite))
        raise ValueError(
            f"scores hold {scores[k, y, x]} at label {k}, row {y}, column {x}: the CRF needs finite values"
        )
    raise ValueError(
        f"probabilities from {lowest:.4g} to {highest:.4g}: expected 0..1; "
        "pass a softmax's output, or set unary='logits' for raw scores"
    )


def check_range(lowest: float, highest: float, kind: str) -> bool:
    """Return whether scores between these two are finite and, of probabilities, near enough to 0..1."""
    if kind == "probabilities":
        return lowest >= -0.01 and highest <= 1.01
    return math.isfinite(lowest) and math.isfinite(highest)


def unary_energy(scores: FloatArray, kind: str) -> FloatArray:
    """Return the energies: -log(clip(p, 1e-5, 1)) of probabilities, or -s of raw scores."""
    if kind == "logits":
        return -scores
    energy: FloatArray = -np.log(np.clip(scores, CLIP, np.float32(1)))
    return energy


def softmax(energy: FloatArray) -> FloatArray:
    """Return exp(-energy), normalised over axis 0."""
    shifted = np.exp(energy.min(axis=0) - energy)
    result: FloatArray = shifted / shifted.sum(axis=0)
    return result


def as_scores(probs: Any, unary: str) -> Any:
    """Return probabilities as the scores that `unary` means: themselves, or logits (equal up to a constant a pixel).

    An array for an array, a tensor on the same device for a tensor.
    """
    if unary != "logits":
        return probs
    tiny = np.finfo(np.float32).tiny
    return np.log(np.maximum(probs, tiny)) if isinstance(probs, np.ndarray) else probs.clamp(min=float(tiny)).log()
