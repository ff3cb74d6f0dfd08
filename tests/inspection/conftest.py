"""A small folder data set, and a console that keeps what is printed."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console


@pytest.fixture
def quiet() -> Console:
    return Console(file=StringIO())


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Path]:
    """draw(train=4, val=3): pictures and masks of 3 classes and void in images/ and masks/, one folder a split."""

    def make(train: int = 4, val: int = 3) -> Path:
        root = tmp_path / "Daten ü"
        rng = np.random.default_rng(0)
        for split, count in (("train", train), ("val", val)):
            for folder in ("images", "masks"):
                (root / folder / split).mkdir(parents=True)
            for number in range(count):
                image = rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)
                Image.fromarray(image).save(root / f"images/{split}/{split}{number}.jpg")
                mask = rng.choice(np.array([0, 1, 2, 255], np.uint8), (10, 12))
                Image.fromarray(mask).save(root / f"masks/{split}/{split}{number}.png")
        return root

    return make
