from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest

from deeplab.crf import CRFParams, DenseCRF
from deeplab.crf import backends as crf_backends
from deeplab.crf.backends import missing
from deeplab.crf.kernels import FeatureKernel

ALL = [name for name in crf_backends.BACKENDS if name != "auto" and not missing(name)]
FAST = [name for name in ALL if name != "exact"]


@pytest.mark.parametrize("backend", ALL)
def test_no_iterations_return_the_unarys_softmax(backend: str, picture: Callable[..., Any]) -> None:
    probs, image = picture(5, 20, 27)
    clipped = np.clip(probs, 1e-5, 1)
    np.testing.assert_allclose(
        DenseCRF(CRFParams(iterations=0), backend)(probs, image), clipped / clipped.sum(axis=0), atol=1e-6
    )


@pytest.mark.parametrize("backend", ALL)
def test_without_kernels_the_unary_stays(backend: str, picture: Callable[..., Any]) -> None:
    probs, image = picture(5, 20, 27)
    alone = DenseCRF(CRFParams(bilateral_weight=0, gaussian_weight=0), backend)(probs, image)
    np.testing.assert_allclose(alone, DenseCRF(CRFParams(iterations=0), backend)(probs, image), atol=1e-6)


@pytest.mark.parametrize("backend", FAST)
def test_agrees_with_the_exact_mean_field(backend: str, picture: Callable[..., Any]) -> None:
    # The lattice is an approximation; weak evidence makes it settle elsewhere, so the unary is sharpened here.
    probs, image = picture(5, 40, 56)
    sharp = probs**3 / (probs**3).sum(axis=0)
    exact = DenseCRF(backend="exact")(sharp, image)
    result = DenseCRF(backend=backend)(sharp, image)
    assert (result.argmax(axis=0) == exact.argmax(axis=0)).mean() > 0.97
    assert np.abs(result - exact).mean() < 0.02


@pytest.mark.parametrize("backend", ALL)
def test_image_is_not_needed_without_a_bilateral_kernel(backend: str, picture: Callable[..., Any]) -> None:
    probs, image = picture(3, 15, 18)
    crf = DenseCRF(CRFParams(bilateral_weight=0), backend)
    np.testing.assert_array_equal(crf(probs), crf(probs, image))
    with pytest.raises(ValueError, match="needs the image"):
        DenseCRF(backend=backend)(probs)


@pytest.mark.parametrize("backend", ALL)
def test_inputs_are_left_alone(backend: str, picture: Callable[..., Any]) -> None:
    probs, image = picture(3, 15, 18)
    kept = probs.copy(), image.copy()
    probs.flags.writeable = image.flags.writeable = False
    DenseCRF(backend=backend)(probs, image)
    np.testing.assert_array_equal(probs, kept[0])
    np.testing.assert_array_equal(image, kept[1])


def test_tensor_in_tensor_out(picture: Callable[..., Any]) -> None:
    torch = pytest.importorskip("torch")
    probs, image = picture(3, 15, 18)
    result = DenseCRF()(torch.from_numpy(probs), torch.from_numpy(image))
    assert isinstance(result, torch.Tensor)
    np.testing.assert_array_equal(result.numpy(), DenseCRF()(probs, image))


def test_batch_of_different_sizes(picture: Callable[..., Any]) -> None:
    pictures = [picture(4, 20, 31), picture(4, 33, 18)]
    crf = DenseCRF()
    results = crf.batch([p for p, _ in pictures], [i for _, i in pictures])
    for result, one in zip(results, pictures, strict=True):
        np.testing.assert_array_equal(result, crf(*one))
    with pytest.raises(ValueError, match="2 score maps but 1 images"):
        crf.batch([p for p, _ in pictures], [pictures[0][1]])


def test_bad_picture_in_a_batch_is_named(picture: Callable[..., Any]) -> None:
    pictures = [picture(4, 20, 31), picture(4, 33, 18)]
    pictures[1][0][2, 5, 7] = np.nan
    with pytest.raises(ValueError, match="scores hold nan at label 2, row 5, column 7"):
        DenseCRF(num_threads=2).batch(*zip(*pictures, strict=True))


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_batch_in_one_array(library: str, picture: Callable[..., Any]) -> None:
    pictures = [picture(4, 20, 31, seed) for seed in (0, 1)]
    probs, images = (np.stack(arrays) for arrays in zip(*pictures, strict=True))
    if library == "torch":
        torch = pytest.importorskip("torch")
        probs, images = torch.from_numpy(probs), torch.from_numpy(images)
    crf = DenseCRF()
    for result, one in zip(crf.batch(probs, images), pictures, strict=True):
        np.testing.assert_array_equal(result, crf(*one))


@pytest.mark.parametrize("backend", ALL)
def test_largest_weights_stay_finite(backend: str, picture: Callable[..., Any]) -> None:
    params = CRFParams(bilateral_weight=1e30, gaussian_weight=1e30)
    assert np.isfinite(DenseCRF(params, backend)(*picture(3, 15, 18))).all()


@pytest.mark.parametrize(
    ("probs", "image", "message"),
    [
        (np.zeros((3, 4)), None, r"shape \(3, 4\)"),
        (np.zeros((3, 4, 0)), None, "none of them 0"),
        (np.zeros((3, 4, 5), np.int64), None, "int64"),
        ([[1.0]], None, "list"),
        (np.full((3, 4, 5), 7.0), np.zeros((4, 5, 3), np.uint8), "unary='logits'"),
        (np.full((3, 4, 5), 0.3), np.zeros((4, 6, 3), np.uint8), r"image of shape \(4, 6, 3\)"),
        (np.full((3, 4, 5), 0.3), np.zeros((4, 5, 3), np.float32), "image of type float32"),
    ],
)
def test_bad_picture_is_named(probs: Any, image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DenseCRF()(probs, image)


def test_bad_features_are_named(picture: Callable[..., Any]) -> None:
    probs, image = picture(3, 4, 5)
    for features, message in [
        (np.zeros((2, 5, 4)), "features of shape"),
        (np.full((1, 4, 5), np.nan), "NaN"),
        (np.full((1, 4, 5), 1e300), "infinity"),
        ("depth.npy", "features are a str"),
    ]:
        with pytest.raises(ValueError, match=message):
            DenseCRF()(probs, image, kernels=[FeatureKernel(1.0, features)])


@pytest.mark.parametrize("backend", FAST)
def test_features_that_span_too_much_are_refused(backend: str, picture: Callable[..., Any]) -> None:
    probs, image = picture(3, 14, 15)
    features = 1e30 * np.random.default_rng(0).random((2, 14, 15))
    with pytest.raises(ValueError, match="standard deviations"):
        DenseCRF(backend=backend)(probs, image, kernels=[FeatureKernel(1.0, features)])


@pytest.mark.parametrize("kind", ["float64", "bfloat16"])
def test_features_may_be_a_networks_output(kind: str, picture: Callable[..., Any]) -> None:
    torch = pytest.importorskip("torch")
    probs, image = picture(3, 14, 15)
    given = np.random.default_rng(0).integers(0, 8, (2, 14, 15)) / 4
    features = torch.tensor(given, dtype=getattr(torch, kind), requires_grad=True)
    result = DenseCRF()(probs, image, kernels=[FeatureKernel(2.0, features)])
    np.testing.assert_array_equal(result, DenseCRF()(probs, image, kernels=[FeatureKernel(2.0, given)]))


def test_scores_may_be_bfloat16(picture: Callable[..., Any]) -> None:
    torch = pytest.importorskip("torch")
    probs, image = picture(3, 14, 15)
    scores = torch.tensor(probs, dtype=torch.bfloat16, requires_grad=True)
    np.testing.assert_array_equal(DenseCRF()(scores, image).numpy(), DenseCRF()(scores.detach().float().numpy(), image))


def test_compatibility_must_fit_the_labels(picture: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="compatibility for 2 labels"):
        DenseCRF(CRFParams(compatibility=((0.0, 1.0), (1.0, 0.0))))(*picture(3, 4, 5))


def test_backend_must_exist_and_threads_be_positive() -> None:
    with pytest.raises(ValueError, match="choose one of auto, native"):
        DenseCRF(backend="fast")
    wrong: list[Any] = [0, 10**6, 1.5]
    for threads in wrong:
        with pytest.raises(ValueError, match=f"num_threads = {threads}"):
            DenseCRF(num_threads=threads)


def test_unavailable_backend_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crf_backends, "_importable", lambda name: False)
    with pytest.raises(ValueError, match="C\\+\\+ compiler"):
        DenseCRF(backend="native")
    with pytest.raises(ValueError, match="pydensecrf2"):
        DenseCRF(backend="pydensecrf")


@pytest.mark.parametrize(
    ("there", "taken", "level"),
    [
        (["deeplab.crf._native", "torch"], "native", logging.INFO),
        (["torch", "pydensecrf"], "torch", logging.WARNING),
        (["pydensecrf"], "pydensecrf", logging.WARNING),
        ([], "exact", logging.WARNING),
    ],
)
def test_auto_says_what_it_takes_and_why(
    there: list[str], taken: str, level: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(crf_backends, "_importable", lambda name: name in there)
    assert crf_backends.automatic() == taken
    (record,) = caplog.records
    assert record.levelno == level
    assert f"backend {taken}" in record.message
    assert ("C++ compiler" in record.message) == (taken != "native")


def test_arguments_of_other_types_are_named(picture: Callable[..., Any]) -> None:
    probs, image = picture(3, 8, 9)
    other: Any = {"iterations": 3}
    with pytest.raises(ValueError, match=r"params = .*expected CRFParams"):
        DenseCRF(other)
    for kernels in (3, [3]):
        with pytest.raises(ValueError, match=r"kernels = .*expected a sequence of kernels"):
            DenseCRF()(probs, image, kernels=cast(Any, kernels))
    with pytest.raises(ValueError, match="expected sequences"):
        DenseCRF().batch([probs], cast(Any, None))
