"""The legend under a picture: which colour is which class."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from deeplab.reporting.palette import VOID, Palette

INK = (32, 33, 36)
FAINT = (118, 122, 128)
PAPER = (255, 255, 255)
OUTLINE = (170, 174, 180)
# Beside an empty picture or a very small one the names still need room.
LEAST_WIDTH = 240


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which matplotlib brings along; Pillow's own font has no umlauts."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)


def text_size(width: int) -> int:
    """Return the letter size in pixels that can be read under a picture of this width when it fills a screen."""
    return min(72, max(12, width // 42))


def shares(label_maps: Iterable[npt.NDArray[np.integer]]) -> dict[int, float]:
    """Return the classes present, the largest first, with their shares of all pixels; void counts as a class."""
    # Pillow's histogram, because numpy's bincount makes eight bytes of every pixel first.
    counts = sum(
        (np.array(Image.fromarray(labels.astype(np.uint8)).histogram()) for labels in label_maps),
        np.zeros(VOID + 1, int),
    )
    order = np.argsort(-counts, kind="stable")
    return {int(k): float(counts[k] / counts.sum()) for k in order if counts[k] > 0}


def class_name(label: int, class_names: Sequence[str]) -> str:
    """Name a label, void and classes beyond the names included."""
    if label < len(class_names):
        return class_names[label]
    return "void" if label == VOID else f"class {label}"


def legend(
    present: dict[int, float],
    class_names: Sequence[str],
    palette: Palette,
    width: int,
    size: int | None = None,
    with_shares: bool = True,
) -> Image.Image:
    """Draw swatches and names, wrapped to `width` pixels; with each class's share in percent if wanted.

    `size` is that of the letters in pixels, `text_size(width)` if not given.
    """
    size = text_size(width) if size is None else size
    letters = font(size)
    swatch, gap, line = round(1.1 * size), round(0.5 * size), round(1.8 * size)
    entries = []
    for label, share in present.items():
        percent = f"{100 * share:.0f} %" if share >= 0.01 else "< 1 %"
        entries.append((label, class_name(label, class_names), percent if with_shares else ""))
    places: list[tuple[int, int]] = []
    x, y = gap, gap
    for _, name, percent in entries:
        needed = swatch + gap + round(letters.getlength(f"{name} {percent}")) + 2 * gap
        if x > gap and x + needed > width:
            x, y = gap, y + line
        places.append((x, y))
        x += needed
    image = Image.new("RGB", (width, y + line + gap // 2), PAPER)
    draw = ImageDraw.Draw(image)
    for (x, y), (label, name, percent) in zip(places, entries, strict=True):
        corners = (x, y, x + swatch, y + swatch)
        draw.rounded_rectangle(corners, radius=size // 4, fill=tuple(palette[label].tolist()), outline=OUTLINE)
        x += swatch + gap
        draw.text((x, y + swatch / 2), name, fill=INK, font=letters, anchor="lm")
        draw.text((x + letters.getlength(f"{name} "), y + swatch / 2), percent, fill=FAINT, font=letters, anchor="lm")
    return image


def with_legend(picture: Image.Image, legend_below: Image.Image) -> Image.Image:
    """Put a legend under a picture; the narrower of both is centred or starts at the left."""
    width = max(picture.width, legend_below.width)
    whole = Image.new("RGB", (width, picture.height + legend_below.height), PAPER)
    whole.paste(picture, ((width - picture.width) // 2, 0))
    whole.paste(legend_below, (0, picture.height))
    return whole
