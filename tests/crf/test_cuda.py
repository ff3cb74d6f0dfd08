"""The cuda backend on a GPU, against pydensecrf (native where that is not installed)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from deeplab.crf import CRFParams, DenseCRF
from deeplab.crf.backends import missing
from deeplab.crf.kernels import FeatureKernel

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(missing("cuda")), reason=f"cuda: {missing('cuda')}")]

Make = Callable[..., Any]


def on_gpu(probs: Any, image: Any) -> tuple[Any, Any]:
    return torch.from_numpy(probs).cuda(), None if image is None else torch.from_numpy(image).cuda()


def refined(params: CRFParams, probs: Any, image: Any, **options: Any) -> Any:
    result = DenseCRF(params, "cuda")(*on_gpu(probs, image), **options)
    assert result.is_cuda
    assert result.shape == probs.shape
    return result.cpu().numpy()


@pytest.mark.parametrize(
    ("K", "H", "W"),
    [
        (21, 375, 500),
        (21, 333, 499),
        (2, 61, 79),
        (150, 60, 81),
        (33, 20, 40),
        (1, 5, 6),
        (600, 7, 9),
        (5, 1, 1),
        (5, 1, 57),
        (5, 57, 1),
    ],
)
def test_sizes(K: int, H: int, W: int, picture: Make, assert_same: Make) -> None:
    probs, image = picture(K, H, W)
    assert_same(refined(CRFParams(), probs, image), CRFParams(), probs, image)


@pytest.mark.parametrize("std", [0.5, 0.7, 1, 3, 7, 67, 500])
@pytest.mark.parametrize("normalization", ["symmetric", "after"])
def test_standard_deviations(std: float, normalization: Any, picture: Make, assert_same: Make) -> None:
    params = CRFParams(
        bilateral_xy_std=std, bilateral_rgb_std=max(2.0, std), gaussian_xy_std=std, normalization=normalization
    )
    probs, image = picture(7, 45, 83)
    assert_same(refined(params, probs, image), params, probs, image)


def test_finest_colours_of_a_large_picture(picture: Make, assert_same: Make) -> None:
    # pydensecrf writes beyond its arrays here, native does not.
    params = CRFParams(iterations=2, bilateral_xy_std=0.5, bilateral_rgb_std=0.5, gaussian_xy_std=0.5)
    probs, image = picture(5, 375, 500)
    assert_same(refined(params, probs, image), params, probs, image, backend="torch" if missing("native") else "native")


@pytest.mark.parametrize("value", [0, 128, 255])
def test_constant_picture(value: int, picture: Make, assert_same: Make) -> None:
    # All pixels of a neighbourhood meet in a few vertices.
    probs, image = picture(6, 240, 321)
    flat = np.full_like(image, value)
    assert_same(refined(CRFParams(), probs, flat), CRFParams(), probs, flat)


def test_noise_is_the_lattices_worst_case(assert_same: Make) -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (170, 190, 3), dtype=np.uint8)
    probs = np.ascontiguousarray(rng.dirichlet(np.ones(21), (170, 190)).transpose(2, 0, 1), dtype=np.float32)
    assert_same(refined(CRFParams(), probs, image), CRFParams(), probs, image)


@pytest.mark.parametrize("iterations", [0, 1, 25])
def test_iterations(iterations: int, picture: Make, assert_same: Make) -> None:
    params = CRFParams(iterations=iterations)
    probs, image = picture(9, 47, 53)
    assert_same(refined(params, probs, image), params, probs, image)


def test_matrix_scores_warm_start_and_further_kernels(picture: Make, assert_same: Make) -> None:
    probs, image = picture(5, 37, 41)
    matrix = np.random.default_rng(5).random((5, 5)).astype(np.float32)
    symmetric = tuple(tuple(float(v) for v in row) for row in (matrix + matrix.T) / 2 - np.eye(5, dtype=np.float32))
    features = np.random.default_rng(6).normal(0, 2, (3, 37, 41)).astype(np.float32)
    options = {"kernels": [FeatureKernel(2.0, features)], "initial": np.roll(probs, 1, axis=0)}
    for params in (CRFParams(iterations=3, unary="logits"), CRFParams(iterations=3, compatibility=symmetric)):
        scores = np.log(probs) if params.unary == "logits" else probs
        got = refined(params, scores, image, **options)
        assert_same(got, params, scores, image, **options)
        there = {"kernels": [FeatureKernel(2.0, torch.from_numpy(features).cuda())]}
        moved = {**there, "initial": torch.from_numpy(options["initial"]).cuda()}
        np.testing.assert_array_equal(refined(params, scores, image, **moved), got)


def test_approximations_and_early_stop(picture: Make, assert_same: Make) -> None:
    probs, image = picture(9, 61, 83)
    sharp = probs**4 / (probs**4).sum(axis=0)
    for options in ({"prune_below": 0.5}, {"half_resolution": True}, {"tolerance": 0.05}):
        params = CRFParams(**options)
        assert_same(refined(params, sharp, image), params, sharp, image)


def test_trace_follows_the_other_backends(picture: Make) -> None:
    probs, image = picture(6, 45, 51)
    other = DenseCRF(backend="torch").trace(probs, image)
    got = DenseCRF(backend="cuda").trace(*on_gpu(probs, image))
    assert got.iterations == other.iterations
    np.testing.assert_allclose(got.energies, other.energies, rtol=1e-4)
    np.testing.assert_allclose(got.divergences, other.divergences, rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"tolerance": 0.05}, {"prune_below": 0.9}, {"half_resolution": True}])
def test_batch_is_one_by_one_bit_for_bit(options: dict[str, Any], picture: Make) -> None:
    pictures = [picture(21, H, W, seed=H) for H, W in [(60, 80), (1, 1), (37, 91), (91, 33), (64, 64), (5, 200)]]
    tensors = [on_gpu(*each) for each in pictures]
    crf = DenseCRF(CRFParams(**options), "cuda")
    for together, one in zip(crf.batch(*zip(*tensors, strict=True)), tensors, strict=True):
        assert torch.equal(together, crf(*one))


def test_chunks_of_a_batch_change_nothing(picture: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from deeplab.crf import cuda_backend

    tensors = [on_gpu(*picture(3, 30, 20 + i, seed=i)) for i in range(6)]
    whole = DenseCRF(backend="cuda").batch(*zip(*tensors, strict=True))
    monkeypatch.setattr(cuda_backend, "CHUNK", 30 * 25 * 4 * 2)
    for ours, theirs in zip(DenseCRF(backend="cuda").batch(*zip(*tensors, strict=True)), whole, strict=True):
        assert torch.equal(ours, theirs)


def test_same_bits_twice(picture: Make) -> None:
    tensors = on_gpu(*picture(21, 200, 301))
    assert torch.equal(DenseCRF(backend="cuda")(*tensors), DenseCRF(backend="cuda")(*tensors))


def test_any_layout_and_type_of_tensors(picture: Make) -> None:
    probs, image = on_gpu(*picture(4, 30, 41))
    crf = DenseCRF(CRFParams(iterations=2), "cuda")
    expected = crf(probs, image)
    assert torch.equal(crf(probs.permute(1, 2, 0).contiguous().permute(2, 0, 1), image.flip(2).flip(2)), expected)
    assert torch.equal(crf(probs.double().requires_grad_(), image.cpu()), expected)
    assert torch.equal(crf(probs.cpu(), image.cpu()), expected.cpu())
    assert np.array_equal(crf(probs.cpu().numpy(), image.cpu().numpy()), expected.cpu().numpy())
    half = crf(probs.half(), image)
    assert half.dtype == torch.float32
    assert float((half - expected).abs().max()) < 0.05


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_named(value: float, picture: Make) -> None:
    probs, image = on_gpu(*picture(3, 8, 9))
    probs[1, 2, 3] = value
    with pytest.raises(ValueError, match="at label 1, row 2, column 3"):
        DenseCRF(backend="cuda")(probs, image)


def test_auto_takes_it_for_tensors_there_and_says_so_once(picture: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    crf = DenseCRF(CRFParams(iterations=1))
    tensors = on_gpu(*picture(3, 8, 9))
    for _ in range(2):
        assert crf(*tensors).is_cuda
    assert [record.message for record in caplog.records] == ["dense CRF: backend cuda"]
