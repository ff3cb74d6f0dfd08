"""Colours of classes in the masks and overlays that are written."""

from collections.abc import Sequence

import numpy as np

from deeplab.data.reading import UInt8Array
from deeplab.errors import InputError


def voc_palette() -> UInt8Array:
    """Return PASCAL VOC's colours of all 256 labels, uint8 (256, 3) RGB; void (255) is a light beige.

    The devkit's rule: bits 0, 3, 6 of a label are the high bits of red, bits 1, 4, 7 of green, bits 2, 5 of blue.
    """
    labels = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = (labels >> (3 * place + channel)) & 1
            colours[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return colours


def class_palette(palette: str | Sequence[Sequence[int]], num_classes: int, key: str = "data.palette") -> UInt8Array:
    """Return the colours of all 256 labels, uint8 (256, 3) RGB: VOC's, or a data set's own for its classes.

    `palette` is "voc" or one [red, green, blue] a class; `key` is what messages call it. Raises InputError for anything
    else.
    """
    colours = voc_palette()
    if isinstance(palette, str):
        if palette != "voc":
            raise InputError(f"{key}={palette}: write voc or a list of [red, green, blue], one a class.")
        return colours
    fits = len(palette) == num_classes and all(isinstance(each, Sequence) and len(each) == 3 for each in palette)
    if not fits or not all(0 <= value <= 255 for colour in palette for value in colour):
        raise InputError(
            f"{key}: {num_classes} classes need {num_classes} colours [red, green, blue] of 0 to 255 each."
        )
    colours[:num_classes] = palette
    return colours
