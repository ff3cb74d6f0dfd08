"""What the pictures take colours from."""

import numpy as np
import numpy.typing as npt

Palette = npt.NDArray[np.uint8]
"""The RGB colours of all 256 labels, uint8 (256, 3)."""

VOID = 255
