"""Predictions as `deeplab predict` leaves them, and test pictures."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from deeplab.data.palette import voc_palette


@pytest.fixture
def quiet() -> Console:
    return Console(file=StringIO())


@pytest.fixture
def predictions(tmp_path: Path) -> Callable[..., dict[str, Path]]:
    """predictions(names, height=6, width=8, classes=21): palette PNGs by id."""

    def make(names: list[str], height: int = 6, width: int = 8, classes: int = 21) -> dict[str, Path]:
        made = {}
        for seed, name in enumerate(names):
            labels = np.random.default_rng(seed).integers(0, classes, (6, 8), dtype=np.uint8)
            labels = labels.repeat(-(-height // 6), axis=0).repeat(-(-width // 8), axis=1)[:height, :width]
            image = Image.fromarray(labels)
            image.putpalette(voc_palette()[::-1].tobytes())
            made[name] = tmp_path / f"{name}.png"
            image.save(made[name])
        return made

    return make
