"""Every fast backend gives pydensecrf's answer, within pydensecrf's own change when its input moves by one ulp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from deeplab.crf import CRFParams, DenseCRF
from deeplab.crf.backends import BACKENDS as KNOWN
from deeplab.crf.backends import missing

pytest.importorskip("pydensecrf", reason="pydensecrf2 is not installed")
BACKENDS = [name for name in ("native", "torch") if name in KNOWN and not missing(name)]

Array = np.ndarray[Any, Any]


class PydenseCRF:
    """pydensecrf's answer, and how far it moves when each probability moves to a neighbouring float.

    The last answers are kept, for one serves every backend.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], tuple[Array, float]] = {}

    def __call__(self, params: CRFParams, probs: Array, image: Array) -> tuple[Array, float]:
        key = (params, probs.shape, probs.tobytes(), image.shape, image.tobytes())
        if key not in self._known:
            if len(self._known) == 4:
                self._known.pop(next(iter(self._known)))
            crf = DenseCRF(params, "pydensecrf")
            result = np.asarray(crf(probs, image))
            up = np.random.default_rng(0).random(probs.shape) < 0.5
            moved = np.nextafter(probs, np.where(up, np.float32(2), np.float32(-1)), dtype=np.float32)
            change = np.abs(np.asarray(crf(np.clip(moved, 0, 1), image)) - result).max()
            self._known[key] = result, float(change)
        return self._known[key]


pydensecrf = PydenseCRF()


def assert_same_answer(backend: str, params: CRFParams, probs: Array, image: Array) -> None:
    expected, own_change = pydensecrf(params, probs, image)
    # torch's threads wait for each other after every operation, which takes long on a busy machine.
    got = DenseCRF(params, backend, num_threads=2 if backend == "native" else 1)(probs, image)
    allowed = max(1e-4, 5 * own_change)
    difference = float(np.abs(got - expected).max())
    assert difference <= allowed, f"max-abs {difference:.3g}, allowed {allowed:.3g}"
    ordered = np.sort(expected, axis=0)
    clear = ordered[-1] - ordered[-2] > 2 * allowed
    assert (got.argmax(axis=0) == expected.argmax(axis=0))[clear].all()
    np.testing.assert_allclose(got.sum(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("K", "H", "W"),
    [
        (21, 60, 80),
        (21, 61, 79),
        (2, 50, 67),
        (150, 24, 31),
        (33, 20, 40),
        (5, 1, 1),
        (5, 1, 57),
        (5, 57, 1),
        (3, 2, 3),
    ],
)
def test_shapes(backend: str, K: int, H: int, W: int, picture: Callable[..., Any]) -> None:
    assert_same_answer(backend, CRFParams(), *picture(K, H, W))


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("K", "H", "W"), [(21, 375, 500), (21, 333, 499), (2, 500, 375), (150, 120, 201)])
def test_pictures_as_large_as_vocs(backend: str, K: int, H: int, W: int, picture: Callable[..., Any]) -> None:
    assert_same_answer(backend, CRFParams(), *picture(K, H, W))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rgb_std", [0.5, 1])
def test_fine_colours(backend: str, rgb_std: float, picture: Callable[..., Any]) -> None:
    # pydensecrf writes beyond its arrays if colours span too many of these, so the picture is dark.
    probs, image = picture(4, 30, 41)
    assert_same_answer(backend, CRFParams(bilateral_rgb_std=rgb_std), probs, image // 24)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("std", [0.5, 0.7, 1, 1.5, 3, 4, 7, 67, 500])
@pytest.mark.parametrize("normalization", ["symmetric", "after"])
def test_standard_deviations(backend: str, std: float, normalization: Any, picture: Callable[..., Any]) -> None:
    # A bilateral rgb_std of .5 makes pydensecrf itself write beyond its arrays, so colours stay at 2 and above.
    params = CRFParams(
        bilateral_xy_std=std, bilateral_rgb_std=max(2.0, std), gaussian_xy_std=std, normalization=normalization
    )
    assert_same_answer(backend, params, *picture(7, 45, 83))


@pytest.mark.parametrize("backend", BACKENDS)
def test_constant_picture(backend: str, picture: Callable[..., Any]) -> None:
    probs, image = picture(6, 40, 51)
    assert_same_answer(backend, CRFParams(), probs, np.full_like(image, 128))


@pytest.mark.parametrize("backend", BACKENDS)
def test_noise_is_the_lattices_worst_case(backend: str) -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)
    probs = rng.dirichlet(np.ones(8), (70, 90)).transpose(2, 0, 1).astype(np.float32)
    assert_same_answer(backend, CRFParams(), probs, image)


@pytest.mark.parametrize("backend", BACKENDS)
def test_black_corner_beside_the_padding(backend: str, picture: Callable[..., Any]) -> None:
    # pydensecrf pads to a multiple of four pixels with points at the origin; those meet a dark first pixel.
    probs, image = picture(4, 33, 37)
    image[:20, :20] //= 32
    assert_same_answer(backend, CRFParams(bilateral_xy_std=20, bilateral_rgb_std=5), probs, image)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("iterations", "weight"), [(0, 4.0), (1, 4.0), (25, 4.0), (10, 0.3), (10, 30.0)])
def test_iterations_and_weights(backend: str, iterations: int, weight: float, picture: Callable[..., Any]) -> None:
    params = CRFParams(iterations=iterations, bilateral_weight=weight)
    assert_same_answer(backend, params, *picture(9, 47, 53))


@pytest.mark.parametrize("backend", BACKENDS)
def test_confident_probabilities(backend: str, picture: Callable[..., Any]) -> None:
    # Most labels are far below the threshold under which messages are left out.
    probs, image = picture(21, 64, 96)
    sharp = probs**8
    assert_same_answer(backend, CRFParams(), (sharp / sharp.sum(axis=0)).astype(np.float32), image)


@pytest.mark.parametrize("backend", BACKENDS)
def test_compatibility_matrix(backend: str, picture: Callable[..., Any]) -> None:
    probs, image = picture(5, 37, 41)
    rng = np.random.default_rng(5)
    penalties = rng.random((5, 5))
    penalties = (penalties + penalties.T) / 2
    np.fill_diagonal(penalties, -1)
    matrix = tuple(tuple(float(v) for v in row) for row in penalties.astype(np.float32))
    assert_same_answer(backend, CRFParams(compatibility=matrix), probs, image)


@pytest.mark.parametrize("backend", BACKENDS)
def test_warm_start_and_raw_scores(backend: str, picture: Callable[..., Any]) -> None:
    probs, image = picture(6, 35, 44)
    initial = np.roll(probs, 1, axis=0)
    params = CRFParams(iterations=3, unary="logits")
    expected = DenseCRF(params, "pydensecrf")(np.log(probs), image, initial=initial)
    got = DenseCRF(params, backend, num_threads=1)(np.log(probs), image, initial=initial)
    np.testing.assert_allclose(got, expected, atol=1e-4)
