"""Read one picture and its mask as training would, and note what is in them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from deeplab.data.labels import LabelRule
from deeplab.data.reading import decode_mask, decode_picture, read_bytes
from deeplab.data.samples import another_suffix
from deeplab.errors import InputError

Counts = npt.NDArray[np.int64]


class Fault(Enum):
    """What can be wrong with a pair."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    SIZE = "sizes differ"
    LABEL = "no labels"


@dataclass(frozen=True)
class Pair:
    """A picture and its mask, named but not opened, and the rule for the mask's values."""

    id: str
    image: Path
    mask: Path
    rule: LabelRule


@dataclass
class Scanned:
    """What was found: faults with a sentence each, and where the mask could be read, its pixels a label.

    `pixels` has one entry a label and void last; `digest` is the same for pictures whose files are the same.
    """

    id: str
    faults: list[tuple[Fault, str]] = field(default_factory=list)
    pixels: Counts | None = None
    digest: bytes | None = None


def scan(pair: Pair) -> Scanned:
    """Decode both files of a pair completely."""
    found = Scanned(pair.id)
    size = _picture_size(pair.image, found)
    label = _mask(pair, found)
    if label is None:
        return found
    if size is not None and size != label.shape:
        sizes = f"{label.shape[1]}x{label.shape[0]}", f"{size[1]}x{size[0]}"
        found.faults.append(
            (Fault.SIZE, f"{pair.mask}: the mask is {sizes[0]} pixels, its picture {pair.image} {sizes[1]}.")
        )
    try:
        label = pair.rule(label, str(pair.mask))
    except InputError as error:
        found.faults.append((Fault.LABEL, str(error)))
        return found
    values = cv2.calcHist([label], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    found.pixels = np.append(values[: pair.rule.num_classes], values[255])
    return found


def _picture_size(path: Path, found: Scanned) -> tuple[int, int] | None:
    remedy = "add it, take it out of the list, or check data.root"
    data = _bytes(path, found, lambda: f"{path}: there is no such picture; {remedy}.")
    if data is None:
        return None
    found.digest = hashlib.blake2b(data.tobytes(), digest_size=16).digest()
    try:
        height, width = decode_picture(data, path).shape[:2]
    except InputError as error:
        found.faults.append((Fault.UNREADABLE, str(error)))
        return None
    return height, width


def _mask(pair: Pair, found: Scanned) -> npt.NDArray[np.uint8] | None:
    data = _bytes(pair.mask, found, lambda: _no_mask(pair))
    if data is None:
        return None
    try:
        return decode_mask(data, pair.mask)
    except InputError as error:
        found.faults.append((Fault.UNREADABLE, str(error)))
        return None


def _no_mask(pair: Pair) -> str:
    other = another_suffix(pair.mask, pair.image)
    there = "" if other is None else f"there is {other.name}: "
    return f"{pair.mask}: there is no such mask for {pair.image}; {there}add it or check data.root and data.layout."


def _bytes(path: Path, found: Scanned, missing: Callable[[], str]) -> npt.NDArray[np.uint8] | None:
    try:
        return read_bytes(path)
    except InputError as error:
        there = path.exists()
        found.faults.append((Fault.UNREADABLE, str(error)) if there else (Fault.MISSING, missing()))
        return None
