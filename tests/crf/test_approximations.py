from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deeplab.crf import CRFParams, DenseCRF
from deeplab.crf import backends as crf_backends
from deeplab.crf.approximations import halved
from deeplab.crf.backends import missing
from deeplab.crf.kernels import BilateralKernel, FeatureKernel, SpatialKernel
from deeplab.crf.problem import make_problem

ALL = [name for name in crf_backends.BACKENDS if name != "auto" and not missing(name)]


def with_weak_labels(picture: Callable[..., Any], weak: list[int], most: float) -> tuple[Any, Any]:
    """A picture where some labels never exceed a probability."""
    probs, image = picture(6, 24, 35)
    probs = probs + 0.1
    for k in weak:
        probs[k] *= most / 4
    return (probs / probs.sum(axis=0)).astype(np.float32), image


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("unary", ["probabilities", "logits"])
def test_pruned_labels_return_0_and_the_others_compete_alone(
    backend: str, unary: Any, picture: Callable[..., Any]
) -> None:
    probs, image = with_weak_labels(picture, [1, 4], 1e-3)
    scores = np.log(probs) + 3 if unary == "logits" else probs
    params = CRFParams(iterations=3, unary=unary)
    result = DenseCRF(replace(params, prune_below=0.01), backend)(scores, image)
    kept = [0, 2, 3, 5]
    assert not result[[1, 4]].any()
    np.testing.assert_allclose(result[kept], DenseCRF(params, backend)(scores[kept], image), atol=1e-6)
    np.testing.assert_allclose(result.sum(axis=0), 1, atol=1e-5)


def test_pruning_takes_the_compatibility_and_the_start_along(picture: Callable[..., Any]) -> None:
    probs, image = with_weak_labels(picture, [0], 1e-3)
    rng = np.random.default_rng(0)
    penalties = rng.random((6, 6))
    penalties += penalties.T
    params = CRFParams(iterations=2, compatibility=tuple(map(tuple, penalties.tolist())))
    some = CRFParams(iterations=2, compatibility=tuple(map(tuple, penalties[1:, 1:].tolist())))
    initial = np.roll(probs, 1, axis=2)
    result = DenseCRF(replace(params, prune_below=0.01))(probs, image, initial=initial)
    np.testing.assert_allclose(result[1:], DenseCRF(some)(probs[1:], image, initial=initial[1:]), atol=1e-6)


def test_pruning_leaves_the_most_probable_label(picture: Callable[..., Any]) -> None:
    image = picture(4, 8, 9)[1]
    probs = np.full((4, 8, 9), 0.2, np.float32)
    probs[2] = 0.4
    result = DenseCRF(CRFParams(prune_below=0.9))(probs, image)
    np.testing.assert_array_equal(result, np.array([0, 0, 1, 0], np.float32)[:, None, None] * np.ones((8, 9)))


def test_half_size_takes_means_and_halves_distances(picture: Callable[..., Any]) -> None:
    probs, image = picture(3, 5, 6)
    features = np.arange(30, dtype=np.float32).reshape(1, 5, 6)
    params = CRFParams(half_resolution=True)
    small = halved(make_problem(probs, image, params, (*params.kernels(), FeatureKernel(1.0, features))))
    assert small.shape == (3, 3)
    np.testing.assert_allclose(small.scores[1, 1, 2], probs[1, 2:4, 4:6].mean(), rtol=1e-6)
    np.testing.assert_allclose(small.scores[1, 2, 0], probs[1, 4, 0:2].mean(), rtol=1e-6)
    assert small.image is not None
    assert abs(float(small.image[0, 1, 2]) - image[0:2, 2:4, 2].mean()) <= 0.5
    assert small.kernels[0] == SpatialKernel(3.0, 0.5)
    assert small.kernels[1] == BilateralKernel(4.0, 33.5, 3.0)
    assert isinstance(small.kernels[2], FeatureKernel)
    np.testing.assert_allclose(small.kernels[2].features[0, 0], [3.5, 5.5, 7.5])
    assert not small.params.half_resolution


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize(("H", "W"), [(24, 36), (25, 37), (1, 1), (1, 9), (9, 2)])
def test_half_size_without_kernels_is_the_unary(backend: str, H: int, W: int, picture: Callable[..., Any]) -> None:
    # There are no messages then, and the evidence is taken at full size.
    probs, image = picture(4, H, W)
    params = CRFParams(bilateral_weight=0, gaussian_weight=0)
    half = DenseCRF(replace(params, half_resolution=True), backend)(probs, image)
    np.testing.assert_allclose(half, DenseCRF(params, backend)(probs, image), atol=1e-5)


def test_half_size_of_smooth_scores_is_close(picture: Callable[..., Any]) -> None:
    y, x = np.mgrid[0:80, 0:120]
    scores = np.stack([np.sin(x / 20) + np.cos(y / 25), np.cos(x / 30), np.sin((x + y) / 40)])
    probs = (np.exp(scores) / np.exp(scores).sum(axis=0)).astype(np.float32)
    image = np.stack([x * 2, y * 3, x + y], axis=2).astype(np.uint8)
    params = CRFParams(bilateral_xy_std=20, bilateral_rgb_std=20, gaussian_xy_std=3)
    exactly = DenseCRF(params)(probs, image)
    half = DenseCRF(replace(params, half_resolution=True))(probs, image)
    assert (half.argmax(axis=0) == exactly.argmax(axis=0)).mean() > 0.97
    assert np.abs(half - exactly).mean() < 0.02
    assert half.shape == exactly.shape


@pytest.mark.parametrize("backend", [backend for backend in ALL if backend != "exact"])
def test_half_size_of_scores_far_apart_is_the_same_everywhere(backend: str) -> None:
    """Marginals are too small for some backends' exponential there, and their logarithm counts."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 40, (3, 60, 7)).astype(np.float32)
    image = rng.integers(0, 256, (60, 7, 3), np.uint8)
    params = CRFParams(iterations=3, unary="logits", half_resolution=True)
    np.testing.assert_allclose(
        DenseCRF(params, backend)(scores, image), DenseCRF(params, "torch")(scores, image), atol=1e-4
    )


def test_features_of_half_size_are_checked_at_full_size(picture: Callable[..., Any]) -> None:
    probs, image = picture(3, 5, 6)
    with pytest.raises(ValueError, match="features"):
        DenseCRF(CRFParams(half_resolution=True))(probs, image, kernels=[FeatureKernel(1.0, np.ones((1, 6, 6)))])


def test_both_together_and_tensors(picture: Callable[..., Any]) -> None:
    torch = pytest.importorskip("torch")
    probs, image = with_weak_labels(picture, [3], 1e-3)
    crf = DenseCRF(CRFParams(prune_below=0.01, half_resolution=True))
    result = crf(torch.from_numpy(probs), torch.from_numpy(image))
    assert not result[3].any()
    np.testing.assert_array_equal(result.numpy(), crf(probs, image))
