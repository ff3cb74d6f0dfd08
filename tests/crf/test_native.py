from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deeplab.crf import CRFParams, DenseCRF
from deeplab.crf.kernels import FeatureKernel
from deeplab.crf.problem import make_problem

native = pytest.importorskip("deeplab.crf.native", reason="the C++ extension is not built")


@pytest.fixture
def baseline() -> Iterator[None]:
    native._native.force_baseline(True)
    yield
    native._native.force_baseline(False)


@pytest.mark.parametrize("K", [1, 2, 4, 5, 8, 21, 40])
def test_same_bits_twice_and_for_any_number_of_threads(K: int, picture: Callable[..., Any]) -> None:
    probs, image = picture(K, 97, 131)
    first = DenseCRF(backend="native", num_threads=1)(probs, image)
    for threads in (1, 2, 3, 8, None):
        np.testing.assert_array_equal(DenseCRF(backend="native", num_threads=threads)(probs, image), first)


@pytest.mark.parametrize("params", [CRFParams(), CRFParams(unary="logits"), CRFParams(prune_below=1e-2)], ids=str)
@pytest.mark.parametrize("K", [1, 3, 4, 8, 12, 19, 21, 28, 40])
def test_same_bits_on_every_processor(K: int, params: CRFParams, picture: Callable[..., Any], baseline: None) -> None:
    probs, image = picture(K, 67, 83)
    plain = DenseCRF(params, "native")(probs, image)
    assert native._native.instruction_set() == "baseline"
    native._native.force_baseline(False)
    np.testing.assert_array_equal(DenseCRF(params, "native")(probs, image), plain)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("K", [*range(1, 35), 40, 47, 64, 65])
def test_any_number_of_labels(
    K: int, large: bool, picture: Callable[..., Any], like_a_large_picture: None, assert_same: Callable[..., None]
) -> None:
    """Rows of labels have lengths of their own: a wrong one would read or write what is another pixel's."""
    native._native.set_large_bytes(0 if large else 48 << 20)
    probs, image = picture(K, 21, 34)
    params = CRFParams(iterations=3)
    refined = DenseCRF(params, "native", num_threads=1)(probs, image)
    assert_same(refined, params, probs, image, backend="torch")


@pytest.mark.parametrize("half_resolution", [False, True])
@pytest.mark.parametrize(("K", "threshold"), [(2, 0.6), (4, 0.4), (21, 0.05), (150, 0.01)])
@pytest.mark.parametrize("start", ["unary", "initial"])
def test_no_label_needs_messages(K: int, threshold: float, start: str, half_resolution: bool) -> None:
    """All are below the threshold, from the start or after an update."""
    rng = np.random.default_rng(0)
    scores = np.full((K, 40, 50), 1 / K, np.float32)
    initial = None if start == "unary" else rng.dirichlet(np.ones(K), (40, 50)).transpose(2, 0, 1).astype(np.float32)
    image = rng.integers(0, 256, (40, 50, 3), np.uint8)
    params = CRFParams(
        iterations=4, bilateral_weight=0.1, gaussian_weight=0.1, prune_below=threshold, half_resolution=half_resolution
    )
    refined = DenseCRF(params, "native", num_threads=2)(scores, image, initial=initial)
    assert np.abs(refined - 1 / K).max() < 0.2 / K
    np.testing.assert_allclose(refined.sum(axis=0), 1, atol=1e-5)


@pytest.fixture
def like_a_large_picture() -> Iterator[None]:
    native._native.set_large_bytes(0)
    yield
    native._native.set_large_bytes(48 << 20)


@pytest.mark.parametrize("K", [2, 3, 4, 8, 13, 21, 40])
@pytest.mark.parametrize("sharpness", [1, 8])
@pytest.mark.parametrize("unary", ["probabilities", "logits"])
def test_large_pictures_get_the_same_answer_from_less_memory(
    K: int, sharpness: int, unary: Any, picture: Callable[..., Any], like_a_large_picture: None
) -> None:
    probs, image = picture(K, 75, 171)
    scores = sharpness * np.log(probs) if unary == "logits" else probs**sharpness / (probs**sharpness).sum(axis=0)
    params = CRFParams(iterations=4, unary=unary)
    results = [DenseCRF(params, "native", num_threads=threads)(scores, image) for threads in (1, 3)]
    np.testing.assert_array_equal(results[0], results[1])
    native._native.set_large_bytes(48 << 20)
    np.testing.assert_array_equal(results[0], DenseCRF(params, "native")(scores, image))


@pytest.mark.parametrize("large_bytes", [0, 48 << 20])
def test_labels_that_fall_idle_rise_again(large_bytes: int, like_a_large_picture: None) -> None:
    # The start is all for label 0, which the scores are against: it keeps the others below what is negligible, here
    # raised to 0.0027 (eleven labels of 0.016), until it collapses and they come back to 0.06 each.
    K, H, W = 19, 40, 50
    probs = (0.98 / 18 * np.random.default_rng(0).uniform(0.9, 1.1, (K, H, W))).astype(np.float32)
    probs[0] = 0.02
    probs /= probs.sum(axis=0)
    initial = np.zeros_like(probs)
    initial[0] = 1
    params = CRFParams(iterations=20, bilateral_weight=0, gaussian_weight=6)
    crfs = [DenseCRF(params, "native", num_threads=threads) for threads in (1, 3)]
    expected = crfs[0](probs, None, initial=initial)
    native._native.set_large_bytes(large_bytes)
    native._native.scale_negligible(800)
    try:
        results = [crf(probs, None, initial=initial) for crf in crfs]
        early = DenseCRF(CRFParams(iterations=4, bilateral_weight=0, gaussian_weight=6), "native")
        assert np.abs(early(probs, None, initial=initial) - expected).max() > 0.01
    finally:
        native._native.scale_negligible(1)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_allclose(results[0], expected, atol=1e-5)


@pytest.mark.parametrize("iterations", [3, 4, 5, 6, 7])
@pytest.mark.parametrize("strength", [-1.0, -0.5, 0.0])
def test_no_label_is_left_out_that_rises_at_once(strength: float, iterations: int) -> None:
    # Label 4 has a chance in the first 40 pixels alone, once what holds it down there flips: until then its marginals
    # are so small that its messages are negligible, and from one update to the next they decide.
    H, W, K = 20, 50, 5
    first, second, third, rest = np.split(np.arange(H * W), [40, 240, 600])

    def groups(*members: Any) -> FeatureKernel:
        features = np.zeros(H * W, np.float32)
        for i, group in enumerate(members):
            features[group] = 100 * (i + 1)
        return FeatureKernel(10.0, features.reshape(1, H, W))

    kernels = [
        groups(np.r_[first, second], third, rest),
        groups(np.r_[second, third], np.r_[first, rest]),
        replace(groups(first, second, third, rest), weight=3.0),
    ]
    scores = np.full((K, H * W), -30, np.float32)
    scores[0, :600] = 0
    scores[4, first] = 6 + strength
    scores[1, second] = 12.5
    scores[1, third] = 20
    scores[2, rest[:200]] = scores[3, rest[200:]] = 20
    initial = np.zeros_like(scores)
    initial[0, :600] = initial[2, rest[:200]] = initial[3, rest[200:]] = 1
    params = CRFParams(iterations=iterations, bilateral_weight=0, gaussian_weight=0, unary="logits")
    results = [
        DenseCRF(params, backend, 1)(scores.reshape(K, H, W), None, kernels=kernels, initial=initial.reshape(K, H, W))
        for backend in ("native", "torch")
    ]
    np.testing.assert_allclose(*results, atol=5e-5)


def test_pruned_labels_that_fall_and_rise_again() -> None:
    # As above: 18 labels start at 0, below the threshold, and come back to 0.06 each when label 0 collapses.
    K, H, W = 19, 40, 50
    probs = (0.98 / 18 * np.random.default_rng(0).uniform(0.9, 1.1, (K, H, W))).astype(np.float32)
    probs[0] = 0.02
    initial = np.zeros_like(probs)
    initial[0] = 1
    exact = CRFParams(iterations=20, bilateral_weight=0, gaussian_weight=6)
    difference = []
    for iterations in (4, 20):
        answers = [
            DenseCRF(replace(exact, iterations=iterations, prune_below=below), "native")(probs, None, initial=initial)
            for below in (0, 0.015)
        ]
        difference.append(np.abs(answers[1] - answers[0]).max())
    assert difference[0] > 1e-3 > difference[1]


def test_what_is_learnt_by_checking_is_what_numpy_says(picture: Callable[..., Any]) -> None:
    probs, _ = picture(5, 31, 43)
    logits = 3 * np.log(probs + 0.01) - 1
    lowest, highest = native._native.ranges(logits, 3)
    np.testing.assert_array_equal([lowest, highest], [logits.min(axis=(1, 2)), logits.max(axis=(1, 2))])
    softmax = np.exp(logits) / np.exp(logits).sum(axis=0)
    np.testing.assert_allclose(native._native.tops(logits, 2), softmax.max(axis=(1, 2)), rtol=1e-5)
    for value in (np.nan, np.inf, -np.inf):
        logits[3, 30, 42] = value
        lowest, highest = native._native.ranges(logits, 3)
        assert (lowest[3], highest[3]) == (-np.inf, np.inf)
        assert np.isfinite(lowest[:3] + highest[:3]).all()


@pytest.mark.parametrize("xy_std", [0.6, 1.0, 1.7, 3.0, 4.0])
@pytest.mark.parametrize("K", [3, 40])
def test_grid_equals_lattice(xy_std: float, K: int, picture: Callable[..., Any]) -> None:
    # Wide and high enough for several tiles.
    probs, image = picture(K, 150, 340) if K < 10 else picture(K, 70, 170)
    params = CRFParams(bilateral_weight=0, gaussian_xy_std=xy_std, iterations=4)
    problem = make_problem(probs, image, params, params.kernels())
    H, W = problem.shape
    results = []
    for allow_grid in (True, False):
        kernel = native._native.spatial(H, W, xy_std, True, allow_grid, 2)
        assert (kernel.num_vertices == 0) == allow_grid
        results.append(native.refine(problem, [(kernel, 3.0)], 2).marginals)
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)


def test_two_spatial_kernels(picture: Callable[..., Any]) -> None:
    pytest.importorskip("pydensecrf")
    probs, image = picture(5, 80, 190)
    y, x = np.mgrid[0:80, 0:190].astype(np.float32)
    params = CRFParams(bilateral_weight=0, gaussian_weight=2, gaussian_xy_std=1)
    extra = FeatureKernel(1.5, np.stack([x, y]) / 2.5)
    expected = DenseCRF(params, "pydensecrf")(probs, image, kernels=[extra])
    np.testing.assert_allclose(DenseCRF(params, "native")(probs, image, kernels=[extra]), expected, atol=1e-4)


@pytest.mark.parametrize("F", [1, 3, 8, 16])
def test_features_of_any_number(F: int, picture: Callable[..., Any]) -> None:
    pytest.importorskip("pydensecrf")
    probs, image = picture(4, 30, 36)
    rng = np.random.default_rng(F)
    kernel = FeatureKernel(3.0, rng.normal(0, 2, (F, 30, 36)).astype(np.float32))
    params = CRFParams(bilateral_weight=0, iterations=5)
    expected = DenseCRF(params, "pydensecrf")(probs, image, kernels=[kernel])
    np.testing.assert_allclose(DenseCRF(params, "native")(probs, image, kernels=[kernel]), expected, atol=1e-4)


def test_features_far_apart(picture: Callable[..., Any]) -> None:
    # Two crowds at opposite corners: the keys of their vertices need nearly all bits of the numbers that hold them.
    probs, image = picture(4, 30, 36)
    rng = np.random.default_rng(0)
    features = rng.normal(0, 1, (3, 30, 36)) + np.where(rng.random((30, 36)) < 0.5, 2e5, -2e5)
    kernel = FeatureKernel(3.0, features.astype(np.float32))
    params = CRFParams(bilateral_weight=0, gaussian_weight=0, iterations=5)
    expected = DenseCRF(params, "torch")(probs, image, kernels=[kernel])
    assert np.abs(expected - probs).max() > 0.1
    for threads in (1, 2, 3, 8):
        result = DenseCRF(params, "native", num_threads=threads)(probs, image, kernels=[kernel])
        np.testing.assert_allclose(result, expected, atol=1e-4)


def test_features_that_span_too_much_are_refused(picture: Callable[..., Any]) -> None:
    probs, image = picture(4, 10, 12)
    kernel = FeatureKernel(1.0, np.linspace(0, 1e9, 120, dtype=np.float32).reshape(1, 10, 12))
    with pytest.raises(ValueError, match="raise the standard deviations"):
        DenseCRF(backend="native")(probs, image, kernels=[kernel])


def test_early_stop(picture: Callable[..., Any]) -> None:
    probs, image = picture(5, 40, 50)
    params = CRFParams(iterations=200, tolerance=1e-3)
    problem = make_problem(probs, image, params, params.kernels())
    terms = [(native.lattice(kernel, problem, 1), kernel.weight) for kernel in problem.kernels]
    stopped = native.refine(problem, terms, 1)
    assert 2 < stopped.iterations < 200
    exactly = DenseCRF(CRFParams(iterations=stopped.iterations), "native")(probs, image)
    np.testing.assert_allclose(stopped.marginals, exactly, atol=1e-6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 24), st.integers(1, 24)),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    layout=st.sampled_from(["C", "F", "strided", "read-only"]),
    spoil=st.sampled_from([None, np.nan, np.inf, -np.inf]),
    stds=st.tuples(*[st.floats(0.5, 500) for _ in range(3)]),
    iterations=st.integers(0, 4),
    weights=st.tuples(st.floats(0, 50), st.floats(0, 50)),
    logits=st.booleans(),
    seed=st.integers(0, 99),
)
def test_never_a_crash(
    shape: tuple[int, int, int],
    dtype: Any,
    layout: str,
    spoil: float | None,
    stds: tuple[float, float, float],
    iterations: int,
    weights: tuple[float, float],
    logits: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    _, H, W = shape
    scores = rng.normal(0, 20, shape) if logits else rng.random(shape)
    if spoil is not None:
        scores.flat[seed % scores.size] = spoil
    array = np.asarray(scores, dtype=dtype, order="F" if layout == "F" else "C")
    if layout == "strided":
        array = np.repeat(array, 2, axis=2)[:, :, ::2]
    array.flags.writeable = layout != "read-only"
    image = rng.integers(0, 256, (H, W, 3), dtype=np.uint8)
    params = CRFParams(
        iterations=iterations,
        bilateral_weight=weights[0],
        gaussian_weight=weights[1],
        bilateral_xy_std=stds[0],
        bilateral_rgb_std=stds[1],
        gaussian_xy_std=stds[2],
        unary="logits" if logits else "probabilities",
    )
    crf = DenseCRF(params, "native", num_threads=2)
    if spoil is not None:
        with pytest.raises(ValueError, match="scores hold"):
            crf(array, image)
        return
    result = crf(array, image)
    assert result.shape == shape
    assert np.isfinite(result).all()
    np.testing.assert_allclose(result.sum(axis=0), 1, atol=1e-4)


def test_many_idle_labels_together_are_not_negligible() -> None:
    # Each of 900 labels is below what a single idle one may reach; together they take most of every pixel.
    rng = np.random.default_rng(0)
    probs = np.full((901, 12, 14), 9e-4, np.float32) * rng.uniform(0.98, 1, (901, 12, 14)).astype(np.float32)
    probs[0] += 1 - probs.sum(axis=0)
    image = rng.integers(100, 104, (12, 14, 3), dtype=np.uint8)
    params = CRFParams(iterations=5, bilateral_weight=1, bilateral_rgb_std=50, gaussian_weight=0)
    expected = DenseCRF(params, "torch")(probs, image)
    assert np.abs(DenseCRF(params, "native")(probs, image) - expected).max() < 2e-5
    native._native.scale_negligible(1e4)
    try:
        assert np.abs(DenseCRF(params, "native")(probs, image) - expected).max() > 1e-4
    finally:
        native._native.scale_negligible(1)
