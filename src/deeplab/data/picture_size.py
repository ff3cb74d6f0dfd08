"""What a picture's header says of its size, before memory is taken for it."""

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

# Pillow's own limit is lower than large masks are. Where nobody asks this module, it still refuses twice ours.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def check_size(image: Image.Image, data: bytes, path: Path | str) -> None:
    """Refuse a picture whose header promises what its file cannot hold, or more than `MAX_PIXELS`.

    `image` is opened, not loaded; `data` is its whole file; `path` names it in the message of the UnreadableFileError.
    """
    width, height = image.size
    if (image.format == "PNG" and _png_bytes(data) > _DEFLATE_AT_BEST * len(data)) or (
        image.format in ("JPEG", "MPO") and width * height > _JPEG_PIXELS_A_BYTE * len(data)
    ):
        raise UnreadableFileError(
            f"{path}: its header says {width}x{height} pixels, which a {image.format} of {len(data)} bytes cannot "
            "hold; the file is damaged, replace it."
        )
    if width * height > MAX_PIXELS:
        raise UnreadableFileError(
            f"{path}: its header says {width}x{height} pixels, and {MAX_PIXELS} are the most that can be read; cut it "
            "into parts, or replace the file if it is damaged."
        )


def _png_bytes(data: bytes) -> int:
    """Bytes of a PNG's pixels before compression: a filter's number and the samples of each row; 0 if not known."""
    if data[12:16] != b"IHDR":  # Apple's variant begins otherwise
        return 0
    width, height, depth, colour_type = struct.unpack(">IIBB", data[16:26])
    return int(height * (1 + (width * depth * _PNG_CHANNELS[colour_type] + 7) // 8))
