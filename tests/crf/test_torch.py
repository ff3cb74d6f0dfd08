from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from deeplab.crf import CRFParams, DenseCRF
from deeplab.crf.kernels import FeatureKernel

torch = pytest.importorskip("torch")


def test_types_that_torch_takes_elsewhere_change_nothing(picture: Callable[..., Any]) -> None:
    probs, image = picture(3, 14, 15)
    matrix = ((-1.0, 0.0, 0.5), (0.0, -1.0, 0.0), (0.5, 0.0, -1.0))
    crf = DenseCRF(CRFParams(iterations=2, compatibility=matrix), "torch", num_threads=1)
    expected = crf(probs, image)
    torch.set_default_dtype(torch.float64)
    try:
        got = crf(probs, image)
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(got, expected)
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_array_equal(crf(probs, image), expected)


@pytest.mark.parametrize("K", [2, 21])
def test_same_bits_twice_and_for_any_number_of_threads(K: int, picture: Callable[..., Any]) -> None:
    probs, image = picture(K, 67, 91)
    params = CRFParams(iterations=3)
    first = DenseCRF(params, "torch", num_threads=1)(probs, image)
    for threads in (1, 2):
        np.testing.assert_array_equal(DenseCRF(params, "torch", num_threads=threads)(probs, image), first)


@pytest.mark.parametrize("F", [1, 3, 6])
def test_features_of_any_number(F: int, picture: Callable[..., Any]) -> None:
    pytest.importorskip("pydensecrf")
    probs, image = picture(4, 30, 37)
    kernel = FeatureKernel(3.0, np.random.default_rng(F).normal(0, 2, (F, 30, 37)).astype(np.float32))
    params = CRFParams(bilateral_weight=0, iterations=5)
    expected = DenseCRF(params, "pydensecrf")(probs, image, kernels=[kernel])
    np.testing.assert_allclose(DenseCRF(params, "torch")(probs, image, kernels=[kernel]), expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 10, 12), (16, 10, 12)])
def test_features_that_span_too_much_are_refused(shape: tuple[int, ...], picture: Callable[..., Any]) -> None:
    probs, image = picture(4, 10, 12)
    most = 1e9 if shape[0] == 1 else 1e3
    kernel = FeatureKernel(1.0, np.random.default_rng(0).uniform(0, most, shape).astype(np.float32))
    with pytest.raises(ValueError, match="raise the standard deviations"):
        DenseCRF(backend="torch")(probs, image, kernels=[kernel])


def test_threads_and_gradients_of_the_caller_stay(picture: Callable[..., Any]) -> None:
    probs, image = picture(3, 9, 11)
    before = torch.get_num_threads()
    given = torch.from_numpy(probs).requires_grad_()
    result = DenseCRF(backend="torch", num_threads=before + 1)(given, torch.from_numpy(image))
    assert torch.get_num_threads() == before
    assert not result.requires_grad
    assert (result.clone().requires_grad_() * 2).sum().requires_grad


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_cpus_answer(picture: Callable[..., Any]) -> None:
    probs, image = picture(21, 120, 161)
    expected = DenseCRF(backend="torch")(probs, image)
    result = DenseCRF(backend="torch")(torch.from_numpy(probs).cuda(), torch.from_numpy(image).cuda())
    assert result.is_cuda
    np.testing.assert_allclose(result.cpu().numpy(), expected, atol=1e-4)
