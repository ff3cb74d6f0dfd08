"""Pictures that every CRF test can use."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest


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


@pytest.fixture
def picture() -> Callable[..., tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]]:
    return make_picture
