"""A prediction laid over its photo."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from deeplab.reporting.legend import LEAST_WIDTH, PAPER, legend, shares, with_legend
from deeplab.reporting.palette import Palette
from deeplab.reporting.predictions import label_image

FILL = 140  # of 255: how much of the colour lies over a surface
OUTLINE = 220  # of 255: how much white lies along its outline


def tinted(image: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer], palette: Palette) -> Image.Image:
    """Colour a photo, uint8 (H, W, 3), by its label map (H, W): surfaces translucent, outlined in white.

    A class whose colour is black (VOC's background) leaves the photo as it is.

    Raises ValueError if the two differ in size.
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(f"Image {image.shape[:2]} and label map {labels.shape} differ in size.")
    visible = (palette.max(axis=1) > 0)[labels]
    opacity = np.where(visible, np.uint8(FILL), np.uint8(0))
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture = Image.composite(label_image(labels, palette).convert("RGB"), picture, Image.fromarray(opacity))
    outlines = Image.fromarray(np.where(_outlines(labels), np.uint8(OUTLINE), np.uint8(0)))
    picture.paste(PAPER, mask=outlines)
    return picture


def overlay(
    image: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer],
    class_names: Sequence[str],
    palette: Palette,
) -> Image.Image:
    """Return `tinted` with a legend of the classes present, by size, underneath.

    Raises ValueError if image (H, W, 3) and label map (H, W) differ in size.
    """
    picture = tinted(image, labels, palette)
    below = legend(shares([labels]), class_names, palette, max(LEAST_WIDTH, picture.width))
    return with_legend(picture, below)


def _outlines(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Mark the pixels beside another class: 1 to each side in pictures up to 600 pixels, more in larger ones."""
    reach = max(1, round(min(labels.shape) / 400))
    edge = np.zeros(labels.shape, dtype=np.bool_)
    for one, other in (
        ((slice(reach, None),), (slice(None, -reach),)),
        ((slice(None), slice(reach, None)), (slice(None), slice(None, -reach))),
    ):
        differs = labels[one] != labels[other]
        edge[one] |= differs
        edge[other] |= differs
    return edge
