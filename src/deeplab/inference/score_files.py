"""Class scores that some network left in files, at any size: reading them and bringing them to the picture's size.

Numpy and Pillow only, so that the processes of a CRF search need no torch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from deeplab.errors import InputError
from deeplab.inference.damaged_arrays import DAMAGED

Floats = npt.NDArray[np.float32]
Kind = Literal["probabilities", "logits"]
KINDS = ("probabilities", "logits")
FORMS = "NAME.npz, NAME_probabilities.npz, NAME.npy, NAME.png, or a folder NAME of one PNG a class"


@dataclass(frozen=True)
class ScoreMap:
    """Scores (K, h, w) float32, at any size of the picture."""

    values: Floats
    kind: Kind

    def at(self, shape: tuple[int, int], align_corners: bool = False) -> "ScoreMap":
        """Return the map at a picture's (H, W), enlarged bilinearly."""
        return ScoreMap(enlarge(self.values, shape, align_corners), self.kind)

    def unary(self, kind: Kind) -> Floats:
        """Return what the CRF takes: probabilities (softmax of logits), or logits (the logarithm of probabilities).

        Both stand for the same distribution, for a constant a pixel changes nothing in the mean field.
        """
        if kind == self.kind:
            return self.values
        if kind == "logits":
            logarithm: Floats = np.log(np.maximum(self.values, np.finfo(np.float32).tiny))
            return logarithm
        shifted = np.exp(self.values - self.values.max(axis=0))
        shifted /= shifted.sum(axis=0)
        return np.asarray(shifted, dtype=np.float32)


def enlarge(values: Floats, shape: tuple[int, int], align_corners: bool = False) -> Floats:
    """Interpolate (K, h, w) bilinearly to (K, H, W), float32; smaller sizes are sampled, not smoothed.

    align_corners: True puts the corner values on the corner pixels (the authors' Interp layer), False aligns the outer
        edges of pixels (torch's and OpenCV's usual way).
    """
    if values.shape[1:] == shape:
        return np.ascontiguousarray(values, dtype=np.float32)
    y0, y1, fy = _taps(values.shape[1], shape[0], align_corners)
    x0, x1, fx = _taps(values.shape[2], shape[1], align_corners)
    wide = values[:, :, x0] * (1 - fx)
    wide += values[:, :, x1] * fx
    tall = wide[:, y0] * (1 - fy)[:, None]
    tall += wide[:, y1] * fy[:, None]
    return np.ascontiguousarray(tall, dtype=np.float32)


def _taps(size: int, wanted: int, align_corners: bool) -> tuple[Any, Any, Floats]:
    if align_corners:
        position = np.arange(wanted) * ((size - 1) / max(1, wanted - 1))
    else:
        position = np.maximum((np.arange(wanted) + 0.5) * (size / wanted) - 0.5, 0)
    first = np.minimum(position.astype(np.int64), size - 1)
    return first, np.minimum(first + 1, size - 1), (position - first).astype(np.float32)


def score_file(folder: Path, name: str) -> Path | None:
    """Return the file (or the folder of PNG files) with the scores of the picture `name`, None if there is none."""
    for ending in (".npz", "_probabilities.npz", ".npy", ".png"):
        if (folder / f"{name}{ending}").is_file():
            return folder / f"{name}{ending}"
    several = folder / name
    return several if several.is_dir() and any(several.glob("*.png")) else None


def read_scores(path: Path, kind: Kind | None = None) -> ScoreMap:
    """Read a score map (K, h, w) of at least one class.

    - `.npz` with the key `logits` or `probabilities`;
    - `.npy`: `kind` says what it holds; None looks: numbers in 0..1 that sum to 1 are probabilities;
    - `.png`, 8 or 16 bits: the probability of the second of two classes, 0..255 (0..65535) for 0..1;
    - a folder of such PNG files, one a class, named by numbers; their sum is normalised to 1.

    Raises InputError for files that cannot be read, other shapes, NaN or infinity.
    """
    if path.suffix == ".npz":
        values, kind = _from_npz(path)
    elif path.suffix == ".npy":
        values = _floats(_load(path), path)
        kind = kind or ("probabilities" if _sums_to_one(values) else "logits")
    else:
        values, kind = (_from_folder(path) if path.is_dir() else _from_png(path)), "probabilities"
    if not np.isfinite(values).all():
        raise InputError(f"{path}: the scores hold NaN or infinity; write finite ones.")
    if kind == "probabilities" and (values.min() < -0.01 or values.max() > 1.01):
        raise InputError(
            f"{path}: probabilities from {values.min():.4g} to {values.max():.4g}; they lie in 0..1, raw scores are "
            "saved under the key logits."
        )
    return ScoreMap(values, kind)


def _from_npz(path: Path) -> tuple[Floats, Kind]:
    archive = _load(path)
    with archive:
        found = [key for key in KINDS if key in archive.files]
        if len(found) != 1:
            raise InputError(f"{path}: it needs one of the keys logits and probabilities, it has {archive.files}.")
        try:
            array = archive[found[0]]
        except (OSError, *DAMAGED) as error:
            reason = _short(error)
            raise InputError(f"{path}: {found[0]} cannot be read ({reason}); write the file again.") from error
    return _floats(array, path), "logits" if found[0] == "logits" else "probabilities"


def _load(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file.") from error
    except (OSError, *DAMAGED) as error:
        # numpy would advise to load it unsafely.
        reason = "no file of numpy's, or pickled objects" if "pickle" in str(error) else _short(error)
        raise InputError(f"{path}: these are no scores that can be read ({reason}); write the file again.") from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def _floats(array: Any, path: Path) -> Floats:
    if array.ndim != 3 or 0 in array.shape or array.dtype.kind != "f":
        raise InputError(
            f"{path}: scores of shape {array.shape} and type {array.dtype}; expected floats (classes, height, width)."
        )
    return np.ascontiguousarray(array, dtype=np.float32)


def _sums_to_one(values: Floats) -> bool:
    return bool(values.min() >= -0.01 and values.max() <= 1.01 and np.abs(values.sum(axis=0) - 1).max() < 0.02)


def _from_png(path: Path) -> Floats:
    foreground = _grey(path)
    return np.stack([1 - foreground, foreground])


def _from_folder(path: Path) -> Floats:
    files = sorted(path.glob("*.png"), key=lambda file: (len(file.stem), file.stem))
    maps = [_grey(file) for file in files]
    if len({each.shape for each in maps}) != 1:
        raise InputError(f"{path}: its score maps are of different sizes; write all classes at one size.")
    values = np.stack(maps)
    total = values.sum(axis=0)
    if (total == 0).any():
        raise InputError(f"{path}: at some pixels every class is 0, which is no distribution; check the files.")
    return np.asarray(values / total, dtype=np.float32)


def _grey(path: Path) -> Floats:
    try:
        with Image.open(path) as image:
            mode, pixels = image.mode, np.array(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: this is no PNG that can be read ({error}); write the file again.") from error
    if mode != "L" and not mode.startswith("I"):
        raise InputError(f"{path}: a score map is grey, 8 or 16 bits a pixel; this one has mode {mode}.")
    return np.asarray(pixels / (255 if mode == "L" else 65535), dtype=np.float32)
