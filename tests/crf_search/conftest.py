"""Tiny pictures with scores in files, as another network's user has them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

K = 3


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with images, labels and probs of six pictures; scores are logits at a quarter of the size."""
    rng = np.random.default_rng(0)
    for folder in ("images", "labels", "probs"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for number in range(6):
        H, W = 20 + number, 26
        y, x = np.mgrid[0:H, 0:W]
        label = ((x // 9 + y // (8 + number)) % K).astype(np.uint8)
        colours = rng.integers(0, 256, (K, 3))
        image = np.clip(colours[label] + rng.normal(0, 6, (H, W, 3)), 0, 255).astype(np.uint8)
        small = label[::4, ::4]
        logits = 2.0 * (small == np.arange(K)[:, None, None]) + rng.normal(0, 1, (K, *small.shape))
        label[0] = 255
        Image.fromarray(image).save(tmp_path / "data" / "images" / f"p{number}.png")
        Image.fromarray(label).save(tmp_path / "data" / "labels" / f"p{number}.png")
        np.savez(tmp_path / "data" / "probs" / f"p{number}.npz", logits=logits.astype(np.float16))
    return tmp_path / "data"
