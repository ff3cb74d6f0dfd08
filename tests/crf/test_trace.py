from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from deeplab.crf import CRFParams, DenseCRF
from deeplab.crf import backends as crf_backends
from deeplab.crf.backends import missing

BACKENDS = [name for name in crf_backends.BACKENDS if name not in ("auto", "pydensecrf") and not missing(name)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_energy_and_divergence_are_those_of_the_definition(backend: str, picture: Callable[..., Any]) -> None:
    probs, image = picture(3, 7, 9)
    params = CRFParams(iterations=4, bilateral_weight=0, gaussian_weight=2, gaussian_xy_std=2)
    result = DenseCRF(params, backend).trace(probs, image)
    assert len(result.energies) == len(result.divergences) == 5
    # The sum over all pairs, as equation 2 writes it; the lattice's kernel comes from its answers to single ones.
    kernel = dense_kernel(backend, params, 7, 9)
    unary = -np.log(np.clip(probs, 1e-5, 1)).reshape(3, -1).astype(np.float64)
    for step, marginals in ((0, None), (4, result.marginals)):
        Q = np.exp(-unary) / np.exp(-unary).sum(axis=0) if marginals is None else marginals.reshape(3, -1)
        energy = (Q * unary).sum() - 0.5 * np.einsum("ki,ij,kj->", Q, kernel, Q)
        assert result.energies[step] == pytest.approx(energy, rel=1e-3)
        entropy = -(Q * np.log(np.maximum(Q, 1e-20))).sum()
        assert result.divergences[step] == pytest.approx(energy - entropy, rel=1e-3)


def dense_kernel(backend: str, params: CRFParams, H: int, W: int) -> Any:
    """The normalised kernel times its weight, a column a pixel, read off one step from one-sided marginals."""
    columns = []
    crf = DenseCRF(CRFParams(**{**params.__dict__, "iterations": 1, "unary": "logits"}), backend)
    for i in range(H * W):
        initial = np.zeros((2, H, W), np.float32)
        initial[0].flat[i] = 1
        Q = crf(np.zeros((2, H, W), np.float32), np.zeros((H, W, 3), np.uint8), initial=initial).astype(np.float64)
        columns.append(np.log(Q[0] / Q[1]).ravel())
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_trace_does_not_change_the_answer(backend: str, picture: Callable[..., Any]) -> None:
    probs, image = picture(5, 31, 42)
    result = DenseCRF(backend=backend).trace(probs, image)
    assert result.iterations == 10
    assert result.divergences[-1] < result.divergences[0]
    np.testing.assert_allclose(result.marginals, DenseCRF(backend=backend)(probs, image), atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_trace_ends_where_the_tolerance_stops(backend: str, picture: Callable[..., Any]) -> None:
    probs, image = picture(4, 20, 25)
    crf = DenseCRF(CRFParams(iterations=100, tolerance=1e-3), backend)
    result = crf.trace(probs, image)
    assert 1 < result.iterations < 100
    assert len(result.divergences) == result.iterations + 1
    np.testing.assert_allclose(result.marginals, crf(probs, image), atol=1e-5)


def test_trace_of_the_torch_backend_has_the_native_ones_values(picture: Callable[..., Any]) -> None:
    pytest.importorskip("deeplab.crf.native")
    pytest.importorskip("torch")
    probs, image = picture(5, 31, 42)
    one, other = (DenseCRF(backend=name).trace(probs, image) for name in ("native", "torch"))
    np.testing.assert_allclose(one.energies, other.energies, rtol=1e-4)
    np.testing.assert_allclose(one.divergences, other.divergences, rtol=1e-4)


def test_pydensecrf_keeps_no_trace(picture: Callable[..., Any]) -> None:
    pytest.importorskip("pydensecrf")
    with pytest.raises(ValueError, match="choose native, torch or exact"):
        DenseCRF(backend="pydensecrf").trace(*picture(3, 5, 6))
