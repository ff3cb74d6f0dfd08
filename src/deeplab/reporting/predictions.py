"""Label maps as files."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from deeplab.reporting.palette import Palette
from deeplab.reporting.writing import replacing


def label_image(labels: npt.NDArray[np.integer], palette: Palette) -> Image.Image:
    """Return a label map (H, W) as a palette picture: its pixels are the classes, its palette their colours.

    Raises ValueError for another shape or classes outside 0..255.
    """
    if labels.ndim != 2 or labels.size == 0:
        raise ValueError(f"A label map is (H, W), got shape {labels.shape}.")
    if labels.dtype != np.uint8:
        if labels.min() < 0 or labels.max() > 255:
            raise ValueError(f"A palette picture holds classes 0..255, got {labels.min()}..{labels.max()}.")
        labels = labels.astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(labels)).convert("L")
    image.putpalette(palette.tobytes())
    return image


def write_labels(path: Path, labels: npt.NDArray[np.integer], palette: Palette) -> None:
    """Write a label map (H, W) as a palette PNG, whole or not at all; read back as indices it is the label map.

    Raises InputError if the file cannot be written, ValueError as `label_image` does.
    """
    image = label_image(labels, palette)
    with replacing(path) as file:
        image.save(file, format="PNG")
