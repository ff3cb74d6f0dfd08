"""The labels of Cityscapes: ids in its files and for its server, train ids for a network of 19 classes.

Source: mcordts/cityscapesScripts, cityscapesscripts/helpers/labels.py.
"""

import numpy as np
import numpy.typing as npt

# Names by id, 0 to 33; license plate, -1, is never drawn.
_NAMES = (
    "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road", "sidewalk",
    "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole", "polegroup",
    "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus",
    "caravan", "trailer", "train", "motorcycle", "bicycle",
)  # fmt: skip
IDS: dict[str, int | None] = {**{name: number for number, name in enumerate(_NAMES)}, "license plate": None}

TRAIN_CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip

LABEL_IDS: npt.NDArray[np.uint8] = np.array([_NAMES.index(name) for name in TRAIN_CLASSES], dtype=np.uint8)
"""The id of each train id, uint8 (19,)."""

TRAIN_IDS: npt.NDArray[np.uint8] = np.full(256, 255, dtype=np.uint8)
"""The train id of each id, uint8 (256,), void 255."""
TRAIN_IDS[LABEL_IDS] = np.arange(len(LABEL_IDS))
