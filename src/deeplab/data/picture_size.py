"""What a picture's header says of its size, before memory is taken for it."""

import io
import struct
from pathlib import Path

from PIL import Image

from deeplab.errors import UnreadableFileError

MAX_PIXELS = 2**30
"""The most pixels that are read of a file, 32768 x 32768: OpenCV's own limit, and ours for masks."""

# One bit of length and one of distance stand for 258 bytes at most (RFC 1951, section 3.2.5).
_DEFLATE_AT_BEST = 1032
# A block of 8x8 takes a bit at least, and 1024 pixels have 8 blocks at least, those of all channels together, however
# they are subsampled (ITU-T T.81, sections A.2 and F.1.2).
_JPEG_PIXELS_A_BYTE = 1024
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the markers that a size follows (table B.1)

# Pillow's own limit is lower than large masks are. Where nobody asks this module, it still refuses twice ours.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def check_size(data: bytes | memoryview, path: Path | str) -> None:
    """Refuse a picture whose header promises what its file cannot hold, or more than `MAX_PIXELS`.

    `data` is the whole file, `path` names it in the message of the UnreadableFileError. PNG and JPEG are looked at
    here, in microseconds, since all pictures of a training pass; Pillow reads other headers, and raises what it does.
    """
    kind, (width, height), needed = _png(data) or _jpeg(data) or _other(data)
    if needed > len(data):
        raise UnreadableFileError(
            f"{path}: its header says {width}x{height} pixels, which a {kind} of {len(data)} bytes cannot hold; the "
            "file is damaged, replace it."
        )
    if width * height > MAX_PIXELS:
        raise UnreadableFileError(
            f"{path}: its header says {width}x{height} pixels, and {MAX_PIXELS} are the most that can be read; cut it "
            "into parts, or replace the file if it is damaged."
        )


_Header = tuple[str, tuple[int, int], float]  # format, (width, height), bytes that such a file has at least


def _png(data: bytes | memoryview) -> _Header | None:
    if data[12:16] != b"IHDR":
        return None
    width, height, depth, colour_type = struct.unpack_from(">IIBB", data, 16)
    row = 1 + (width * depth * _PNG_CHANNELS.get(colour_type, 1) + 7) // 8  # with the number of its filter
    return "PNG", (width, height), height * row / _DEFLATE_AT_BEST


def _jpeg(data: bytes | memoryview) -> _Header | None:
    place = 2 if data[:2] == b"\xff\xd8" else len(data)
    while place + 9 <= len(data) and data[place] == 0xFF:
        if data[place + 1] in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return "JPEG", (width, height), width * height / _JPEG_PIXELS_A_BYTE
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return None


def _other(data: bytes | memoryview) -> _Header:
    with Image.open(io.BytesIO(data)) as image:
        return str(image.format), image.size, 0
