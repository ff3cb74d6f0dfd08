"""Small data sets on disk, made for each test."""

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import cv2
import numpy as np
import pytest
from PIL import Image

from deeplab.data.reading import UInt8Array

Picture = Callable[..., UInt8Array]


def _smooth(height: int, width: int, seed: int = 0) -> UInt8Array:
    """A picture that JPEG keeps almost as it is."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    blurred = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.asarray(cv2.normalize(blurred, blurred.copy(), 0, 255, cv2.NORM_MINMAX))


@pytest.fixture
def smooth() -> Picture:
    """smooth(height, width, seed=0): a picture uint8 (H, W, 3)."""
    return _smooth


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    """encoded(PIL image, format, **options): the bytes of the file."""

    def encode(image: Image.Image, format: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format, **options)
        return buffer.getvalue()

    return encode


def _save_mask(path: Path, label: UInt8Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.fromarray(label)
    # A palette whose colours are not its indices, as VOC's is.
    mask.putpalette([(37 * i + 11) % 256 for i in range(768)])
    mask.save(path)


@pytest.fixture
def save_mask() -> Callable[[Path, UInt8Array], None]:
    """save_mask(path, label): write a palette PNG whose indices are the labels."""
    return _save_mask


@pytest.fixture
def save_picture() -> Callable[[Path, UInt8Array], None]:
    """save_picture(path, image): write an RGB picture in the format of its suffix."""

    def save(path: Path, image: UInt8Array) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)

    return save


@pytest.fixture
def make_voc(tmp_path: Path) -> Callable[..., Path]:
    """make_voc(train=..., val=..., aug=...): a VOCdevkit folder; returns its path.

    Pictures of `train` and `val` have masks in SegmentationClass, all have one in SegmentationClassAug without void.
    """

    def make(train: Sequence[str] = ("a", "b", "c"), val: Sequence[str] = ("v",), aug: Sequence[str] = ("s",)) -> Path:
        root = tmp_path / "VOCdevkit"
        folder = root / "VOC2012"
        for number, name in enumerate([*train, *val, *aug]):
            height, width = 20 + number, 30
            (folder / "JPEGImages").mkdir(parents=True, exist_ok=True)
            Image.fromarray(_smooth(height, width, number)).save(folder / "JPEGImages" / f"{name}.jpg", quality=95)
            label = np.zeros((height, width), dtype=np.uint8)
            label[4:12, 5:20] = 1 + number % 20
            _save_mask(folder / "SegmentationClassAug" / f"{name}.png", label)
            if name not in aug:
                label[4, 5:20] = 255
                _save_mask(folder / "SegmentationClass" / f"{name}.png", label)
        lists = folder / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text("".join(f"{name}\n" for name in train))
        (lists / "val.txt").write_text("".join(f"{name}\n" for name in val))
        (lists / "trainval.txt").write_text("".join(f"{name}\n" for name in [*train, *val]))
        (folder / "ImageSets" / "SegmentationAug").mkdir()
        (folder / "ImageSets" / "SegmentationAug" / "train_aug.txt").write_text(
            "".join(f"{name}\n" for name in [*train, *aug])
        )
        return root

    return make
