"""Colours of labels."""

import numpy as np
import pytest

from deeplab.data.palette import class_palette, voc_palette
from deeplab.errors import InputError


def test_voc_palette_equals_the_published_colours() -> None:
    published = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 5: (128, 0, 128), 12: (64, 0, 128), 15: (192, 128, 128)}
    published |= {20: (0, 64, 128), 255: (224, 224, 192)}
    assert {label: tuple(voc_palette()[label].tolist()) for label in published} == published
    assert len(np.unique(voc_palette(), axis=0)) == 256


def test_own_colours_replace_those_of_the_classes() -> None:
    colours = class_palette([[1, 2, 3], [4, 5, 6]], 2)
    assert colours[:2].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert np.array_equal(colours[2:], voc_palette()[2:])


@pytest.mark.parametrize("palette", ["ade", [[0, 0, 0]], [[0, 0, 0], [0, 0]], [[0, 0, 0], [0, 0, 256]]])
def test_palettes_that_cannot_be(palette: object) -> None:
    with pytest.raises(InputError, match=r"data\.palette"):
        class_palette(palette, 2)  # type: ignore[arg-type]
