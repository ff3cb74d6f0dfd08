"""Decode pictures to RGB and masks to label indices; every file that cannot be used is named in one sentence."""

import io
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from deeplab.data.decoder_messages import SilentDecoders
from deeplab.data.picture_size import MAX_PIXELS, check_size
from deeplab.errors import InputError, UnreadableFileError

UInt8Array = npt.NDArray[np.uint8]

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")

_PILLOW_DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error)


def read_picture(path: Path | str) -> UInt8Array:
    """Read a picture as it is meant to be seen: EXIF rotation applied, any colour mode turned into 8-bit RGB.

    Grayscale, CMYK, palette and 16-bit pictures are converted; an alpha channel is dropped, not blended.

    Returns uint8 (H, W, 3) in RGB order. Raises UnreadableFileError for a file that is missing, empty, truncated,
    damaged, no picture, or too large (`deeplab.data.picture_size`).
    """
    return decode_picture(read_bytes(path), path)


def decode_picture(data: UInt8Array, path: Path | str) -> UInt8Array:
    """Decode a picture from the bytes of its file, as `read_picture` does; `path` names it in messages."""
    with _refusing(path, "picture"):
        check_size(data.data, path)
        # OpenCV is faster than Pillow. Its version 5 answers None for a JPEG that breaks off, where 4 filled the rest
        # with grey.
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise UnreadableFileError(_no("picture", path))
    return np.asarray(picture, dtype=np.uint8)


def read_mask(path: Path | str) -> UInt8Array:
    """Read a mask as label indices: the palette index or the grey value of each pixel, never a colour.

    Pillow reads it, because OpenCV expands palettes to colours. A 1-bit mask gives labels 0 and 1.

    Returns uint8 (H, W). Raises UnreadableFileError as `read_picture`, and InputError for colour masks, masks of more
    than 8 bits and JPEG masks, whose compression changes labels.
    """
    return decode_mask(read_bytes(path), path)


def decode_mask(data: UInt8Array, path: Path | str) -> UInt8Array:
    """Decode a mask from the bytes of its file, as `read_mask` does; `path` names it in messages."""
    content = data.tobytes()
    with _refusing(path, "mask"):
        check_size(content, path)
        with Image.open(io.BytesIO(content)) as image:
            _check_mask_mode(image, path)
            image.verify()  # a PNG's checksums, which decoding ignores; OpenCV looks at those of pictures
        with Image.open(io.BytesIO(content)) as image:
            # Labelling tools copy a photo's metadata, so a mask is turned as its picture is.
            upright = ImageOps.exif_transpose(image) if "exif" in image.info else image
            return np.array(upright, dtype=np.uint8)


@contextmanager
def _refusing(path: Path | str, what: str) -> Iterator[None]:
    """Have one sentence for what decoders raise in this block, and nothing printed by them."""
    try:
        with SilentDecoders():
            yield
    except InputError:
        raise
    except cv2.error as error:
        raise UnreadableFileError(f"{path}: this {what} cannot be decoded ({error.err}); replace the file.") from error
    except Image.DecompressionBombError as error:
        raise UnreadableFileError(
            f"{path}: its header says more pixels than the {MAX_PIXELS} that can be read; cut it into parts, or "
            "replace the file if it is damaged."
        ) from error
    except _PILLOW_DECODING_ERRORS as error:
        raise UnreadableFileError(_no(what, path)) from error


def _no(what: str, path: Path | str) -> str:
    return f"{path}: this is no {what} that can be read, or it breaks off; replace the file."


def _check_mask_mode(image: Image.Image, path: Path | str) -> None:
    remedy = "save masks as 8-bit grey or palette PNG whose values are the labels"
    if image.format == "JPEG":
        raise InputError(f"{path}: the mask is a JPEG, whose compression changes labels; {remedy}.")
    if image.mode.startswith("I") or image.mode == "F":
        raise InputError(f"{path}: the mask has more than 8 bits a pixel (mode {image.mode}); {remedy}.")
    if image.mode in ("LA", "La", "PA"):
        raise InputError(f"{path}: the mask has an alpha channel beside its values (mode {image.mode}); {remedy}.")
    if image.mode not in ("1", "L", "P"):
        raise InputError(f"{path}: the mask holds colours (mode {image.mode}), not labels; {remedy}.")


def is_special(path: Path | str) -> bool:
    """Whether it is a pipe, socket or device: opening one may wait for ever. A link that leads nowhere is none."""
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def read_bytes(path: Path | str) -> UInt8Array:
    """Read a file, uint8 (N,); raises InputError for one that is missing, empty or cannot be read."""
    if is_special(path):
        raise UnreadableFileError(f"{path}: it is a pipe, a socket or a device; put a file in its place.")
    try:
        # Decoding from memory, since cv2.imread mistakes the encoding of file names on some systems.
        data = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError as error:
        raise UnreadableFileError(f"{path}: there is no such file; add it or check data.root.") from error
    except OSError as error:
        raise UnreadableFileError(
            f"{path}: the file cannot be read ({error.strerror}); check its permissions."
        ) from error
    if data.size == 0:
        raise UnreadableFileError(f"{path}: the file is empty; replace it.")
    return data
