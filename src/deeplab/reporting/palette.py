"""The colours of classes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deeplab.errors import InputError

Palette = npt.NDArray[np.uint8]
VOID = 255


def voc_palette() -> Palette:
    """Return PASCAL VOC's 256 colours, uint8 (256, 3).

    Bits 0, 3, 6 of the class become the highest bits of red, bits 1, 4, 7 those of green, 2 and 5 those of blue (the
    devkit's colour map).
    """
    labels = np.arange(256)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= ((labels >> bit & 1) << (7 - bit // 3)).astype(np.uint8)
    return palette


def class_palette(colours: Sequence[Sequence[int]] | None = None) -> Palette:
    """Return 256 colours, uint8 (256, 3): those given first, then VOC's; 255 stays VOC's colour of void.

    Raises InputError for a colour that is not three integers in 0..255, or more than 255 of them.
    """
    palette = voc_palette()
    if colours is None:
        return palette
    if len(colours) > VOID:
        raise InputError(f"data.palette has {len(colours)} colours: at most {VOID} fit beside void.")
    for index, colour in enumerate(colours):
        if len(colour) != 3 or not all(isinstance(value, int) and 0 <= value <= 255 for value in colour):
            raise InputError(f"data.palette[{index}]={list(colour)}: a colour is [red, green, blue], each in 0..255.")
        palette[index] = colour
    return palette
