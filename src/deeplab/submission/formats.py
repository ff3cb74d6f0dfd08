"""The formats of the test servers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from deeplab.data.cityscapes_labels import LABEL_IDS, TRAIN_CLASSES
from deeplab.errors import InputError

_VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


@dataclass(frozen=True)
class ServerFormat:
    """How a server wants its pictures.

    - `entry`: the path in the archive of a picture's prediction, with {id};
    - `photo`: what the name of a photo must look like; its group 1 is the id;
    - `values`: the value in the file of each class; no other may occur;
    - `indexed`: a palette PNG with VOC's colours, else a grey one;
    - `size`: (width, height) of all pictures, None where each has its own;
    - `count`: pictures of the whole test set.
    """

    name: str
    class_names: tuple[str, ...]
    container: Literal["tgz", "zip"]
    entry: str
    photo: re.Pattern[str]
    values: npt.NDArray[np.uint8]
    indexed: bool
    size: tuple[int, int] | None
    count: int

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Raise InputError unless a network's classes are the server's, in its order."""
        if tuple(class_names) != self.class_names:
            raise InputError(
                f"export={self.name}: the network has other classes ({len(class_names)}: {', '.join(class_names[:3])}, "
                f"...) than the server ({len(self.class_names)}: {', '.join(self.class_names[:3])}, ...)."
            )

    def id_of(self, photo: str) -> str:
        """Return the id of a photo by its file name; raises InputError for a name that the server does not know."""
        match = self.photo.match(photo)
        if match is None:
            raise InputError(f"{photo}: this is no name of a picture that the server of {self.name} asks for.")
        return match[1]

    def id_of_entry(self, path: str) -> str | None:
        """Return the id of an entry of an archive, None for a path that the server does not expect."""
        before, _, after = self.entry.partition("{id}")
        if self.name == "cityscapes":  # the owners' evaluator looks in all folders for <id>*.png
            match = re.match(r"^(?:.*/)?([a-z]+_\d{6}_\d{6})[^/]*\.png$", path)
            return match[1] if match else None
        path = path.removeprefix("./")
        fits = path.startswith(before) and path.endswith(after) and len(path) > len(before) + len(after)
        name = path[len(before) : len(path) - len(after)] if fits else ""
        return name if re.fullmatch(r"\d{4}_\d{6}", name) else None


def _voc(name: str, competition: str) -> ServerFormat:
    return ServerFormat(
        name,
        _VOC_CLASSES,
        "tgz",
        f"results/VOC2012/Segmentation/{competition}_test_cls/{{id}}.png",
        re.compile(r"^(\d{4}_\d{6})\.[a-zA-Z]+$"),
        np.arange(len(_VOC_CLASSES), dtype=np.uint8),
        indexed=True,
        size=None,
        count=1456,
    )


# VOC: comp6 is what published archives use (zhanghang1989/PyTorch-Encoding, issues 190 and 225); comp5 is said to be
# for networks that saw VOC's data alone (not established). Cityscapes: evalPixelLevelSemanticLabeling.py of
# mcordts/cityscapesScripts finds <city>_123456_123456*.png and wants original ids.
FORMATS = {
    "voc12": _voc("voc12", "comp6"),
    "voc12_comp5": _voc("voc12_comp5", "comp5"),
    "cityscapes": ServerFormat(
        "cityscapes",
        TRAIN_CLASSES,
        "zip",
        "{id}_pred_labelIds.png",
        re.compile(r"^([a-z]+_\d{6}_\d{6})_leftImg8bit\.png$"),
        LABEL_IDS,
        indexed=False,
        size=(2048, 1024),
        count=1525,
    ),
}


def server_format(name: str, key: str) -> ServerFormat:
    """Return a format by its name; raises InputError naming the configuration's key."""
    if name not in FORMATS:
        raise InputError(f"{key}={name}: choose one of {', '.join(FORMATS)}.")
    return FORMATS[name]
