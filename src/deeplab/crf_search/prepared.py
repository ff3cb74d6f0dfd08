"""A picture made ready for the search: its scores, pixels and labels in one file, read many times."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deeplab.errors import InputError
from deeplab.inference.damaged_arrays import DAMAGED
from deeplab.inference.score_files import KINDS, ScoreMap
from deeplab.reporting.writing import replacing

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Prepared:
    """Scores (K, H, W), image (H, W, 3) RGB, label (H, W) with 255 = void, at one size."""

    scores: ScoreMap
    image: Bytes
    label: Bytes


def write_prepared(path: Path, scores: ScoreMap, image: Bytes, label: Bytes, align_corners: bool) -> None:
    """Write a picture; its scores, at whatever size they come, as float16, or float32 where those would overflow.

    Raises InputError if the file cannot be written.
    """
    small = scores.values.astype(np.float16) if np.abs(scores.values).max() < 6e4 else scores.values
    corners = np.array(align_corners)
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, image=image, label=label, align_corners=corners, **{scores.kind: small})


def read_prepared(path: Path) -> Prepared:
    """Read a picture, its scores enlarged to its size.

    Raises InputError for a damaged file.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            kind = next(each for each in KINDS if each in arrays.files)
            image, label, align_corners = arrays["image"], arrays["label"], bool(arrays["align_corners"])
            values = arrays[kind].astype(np.float32)
    except (OSError, StopIteration, *DAMAGED) as error:
        raise InputError(f"{path} cannot be read ({error}); remove it and run the search again.") from error
    scores = ScoreMap(values, "logits" if kind == "logits" else "probabilities")
    return Prepared(scores.at(label.shape, align_corners), image, label)
