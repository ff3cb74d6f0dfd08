"""Sheets: for each picture a row of image, truth, prediction, prediction after the CRF."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from deeplab.reporting.legend import FAINT, INK, LEAST_WIDTH, PAPER, font, legend, shares, with_legend
from deeplab.reporting.palette import Palette
from deeplab.reporting.predictions import label_image

GAP = 10
TITLE_SIZE = 15
CAPTION_SIZE = 12
ABSENT = (238, 240, 243)

Labels = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Row:
    """One picture: its image, uint8 (H, W, 3), and a label map (H, W), or None, for each further column."""

    image: npt.NDArray[np.uint8]
    labels: Sequence[Labels | None]
    caption: str = ""


def sheet(
    rows: Sequence[Row],
    class_names: Sequence[str],
    titles: Sequence[str],
    palette: Palette,
    panel: tuple[int, int] = (320, 240),
) -> Image.Image:
    """Draw rows of panels, each fitted into `panel` (width, height), with a title a column and one legend.

    Raises ValueError for no rows, or a row with more or fewer label maps than titles after the first.
    """
    if not rows or any(len(row.labels) + 1 != len(titles) for row in rows):
        raise ValueError(f"A sheet needs at least one row, each with {len(titles) - 1} label maps for {list(titles)}.")
    panels = [_panels(row, palette, panel) for row in rows]
    column_width = max(LEAST_WIDTH // len(titles), *(picture.width for row in panels for picture in row))
    width = GAP + len(titles) * (column_width + GAP)
    strips = [_titles(titles, column_width, width)]
    strips += [_strip(pictures, row.caption, column_width, width) for pictures, row in zip(panels, rows, strict=True)]
    whole = Image.new("RGB", (width, sum(strip.height for strip in strips)), PAPER)
    y = 0
    for strip in strips:
        whole.paste(strip, (0, y))
        y += strip.height
    present = shares([labels for row in rows for labels in row.labels if labels is not None])
    return with_legend(whole, legend(present, class_names, palette, width, size=TITLE_SIZE, with_shares=False))


def _panels(row: Row, palette: Palette, panel: tuple[int, int]) -> list[Image.Image]:
    height, width = row.image.shape[:2]
    scale = min(panel[0] / width, panel[1] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    pictures = [Image.fromarray(np.ascontiguousarray(row.image)).resize(size, Image.Resampling.LANCZOS)]
    for labels in row.labels:
        if labels is None:
            pictures.append(_absent(size))
        else:
            # Colours, not labels, are scaled down, so that thin parts fade instead of breaking up.
            method = Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST
            pictures.append(label_image(labels, palette).convert("RGB").resize(size, method))
    return pictures


def _absent(size: tuple[int, int]) -> Image.Image:
    image = Image.new("RGB", size, ABSENT)
    ImageDraw.Draw(image).text((size[0] / 2, size[1] / 2), "–", fill=FAINT, font=font(TITLE_SIZE), anchor="mm")
    return image


def _titles(titles: Sequence[str], column_width: int, width: int) -> Image.Image:
    image = Image.new("RGB", (width, 2 * TITLE_SIZE), PAPER)
    draw = ImageDraw.Draw(image)
    for column, title in enumerate(titles):
        centre = GAP + column * (column_width + GAP) + column_width / 2
        draw.text((centre, TITLE_SIZE), title, fill=INK, font=font(TITLE_SIZE), anchor="mm")
    return image


def _strip(pictures: Sequence[Image.Image], caption: str, column_width: int, width: int) -> Image.Image:
    height = pictures[0].height
    image = Image.new("RGB", (width, height + (2 * CAPTION_SIZE + GAP // 2 if caption else GAP)), PAPER)
    for column, picture in enumerate(pictures):
        image.paste(picture, (GAP + column * (column_width + GAP) + (column_width - picture.width) // 2, 0))
    if caption:
        place = (GAP, height + CAPTION_SIZE * 0.9)
        ImageDraw.Draw(image).text(place, caption, fill=FAINT, font=font(CAPTION_SIZE), anchor="lm")
    return image
