"""Pictures that every CRF test can use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from deeplab.crf import CRFParams, DenseCRF
from deeplab.crf.backends import missing


def make_picture(K: int, H: int, W: int, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Return (probs, image): noisy class scores, and noisy colour patches that they roughly follow."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:H, 0:W]
    regions = ((x // 17 + 2 * (y // 13)) * 2654435761 % 97 % K).astype(np.int64)
    palette = rng.integers(0, 256, (K, 3))
    shade = 12 * np.sin(x / 9.0)[..., None] + rng.normal(0, 4, (H, W, 3))
    image = np.clip(palette[regions] + shade, 0, 255).astype(np.uint8)
    scores = rng.normal(0, 1.2, (K, H, W))
    scores += 2.5 * (np.roll(regions, 2, axis=1) == np.arange(K)[:, None, None])
    exps = np.exp(scores - scores.max(axis=0))
    return (exps / exps.sum(axis=0)).astype(np.float32), image


@pytest.fixture(scope="session")
def picture() -> Callable[..., tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]]:
    return make_picture


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    """Return a check of marginals against pydensecrf's, or native's where that is not installed."""

    def check(got: Any, params: CRFParams, probs: Any, image: Any, backend: str | None = None, **options: Any) -> None:
        approximate = params.prune_below or params.half_resolution or params.tolerance
        chosen = backend or next(b for b in ("pydensecrf", "native", "torch") if not missing(b))
        crf = DenseCRF(params, "native" if approximate and not missing("native") else chosen, num_threads=1)
        expected = crf(probs, image, **options)
        difference, allowed = float(np.abs(got - expected).max()), 1e-4
        if difference > allowed:  # five times its own change when its input moves by one unit in the last place
            up = np.random.default_rng(0).random(probs.shape) < 0.5
            moved = np.nextafter(probs, np.where(up, np.float32(2), np.float32(-1)), dtype=np.float32)
            moved = moved if params.unary == "logits" else np.clip(moved, 0, 1)
            allowed = max(allowed, 5 * float(np.abs(crf(moved, image, **options) - expected).max()))
        assert difference <= allowed, f"max-abs {difference:.3g}, allowed {allowed:.3g}"
        if len(expected) > 1:
            ordered = np.sort(expected, axis=0)
            clear = ordered[-1] - ordered[-2] > 2 * allowed
            assert (got.argmax(axis=0) == expected.argmax(axis=0))[clear].all()

    return check
