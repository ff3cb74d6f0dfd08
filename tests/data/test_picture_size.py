"""Headers that promise what cannot be: refused before memory is taken, while large and plain pictures are read."""

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from deeplab.data.picture_size import MAX_PIXELS, check_size
from deeplab.data.reading import UInt8Array, read_mask, read_picture
from deeplab.errors import UnreadableFileError

Encoded = Callable[..., bytes]
Smooth = Callable[..., UInt8Array]

READERS = pytest.mark.parametrize("read", [read_picture, read_mask])


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, rows: bytes, depth: int = 8, interlaced: bool = False) -> bytes:
    """A grey PNG whose header may say anything; `rows` is what is compressed."""
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, interlaced)
    content = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + content + chunk(b"IEND", b"")


def jpeg(width: int, height: int, data: bytes) -> bytes:
    """A JPEG with another size in its header (the frame's segment)."""
    place = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


@READERS
@pytest.mark.parametrize(
    ("width", "height", "depth", "interlaced"),
    [(20000, 25000, 8, False), (20000, 25000, 8, True), (65535, 8000, 16, False), (30000, 30000, 1, False)],
)
def test_a_png_too_small_for_its_header(
    tmp_path: Path, read: Callable[[Path], UInt8Array], width: int, height: int, depth: int, interlaced: bool
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png(width, height, bytes(10100), depth, interlaced))
    tracemalloc.start()
    with pytest.raises(UnreadableFileError, match=rf"x\.png: its header says {width}x{height} .*PNG of .*damaged"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_too_small_for_its_header(tmp_path: Path, smooth: Smooth, encoded: Encoded, progressive: bool) -> None:
    data = encoded(Image.fromarray(smooth(60, 80)), "JPEG", progressive=progressive)
    (tmp_path / "x.jpg").write_bytes(jpeg(30000, 30000, data))
    with pytest.raises(UnreadableFileError, match=r"x\.jpg: its header says 30000x30000 .*JPEG of .*damaged"):
        read_picture(tmp_path / "x.jpg")


@READERS
@pytest.mark.parametrize("size", [(40000, 30000), (1000000, 2000000)])
def test_more_pixels_than_are_read(tmp_path: Path, read: Callable[[Path], UInt8Array], size: tuple[int, int]) -> None:
    header = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54, 0, 0, 54, 40, *size, 1, 24, 0, 0, 0, 0, 0, 0)
    (tmp_path / "x.bmp").write_bytes(header + bytes(100))
    with pytest.raises(UnreadableFileError, match=rf"x\.bmp: its header says .* pixels.*{MAX_PIXELS}"):
        read(tmp_path / "x.bmp")


def test_a_large_mask_of_one_label_is_no_damage() -> None:
    side = 20000  # more pixels than Pillow takes by itself
    data = png(side, side, bytes(1 + side // 8) * side, depth=1)
    check_size(data, "x.png")


@pytest.mark.slow
def test_a_large_mask_is_read(tmp_path: Path) -> None:
    side = 14000
    (tmp_path / "x.png").write_bytes(png(side, side, (b"\0" + b"\xff" * (side // 8)) * side, depth=1))
    mask = read_mask(tmp_path / "x.png")
    assert mask.shape == (side, side) and mask.min() == mask.max() == 1


def test_the_largest_compression_is_no_damage(tmp_path: Path) -> None:
    black = np.zeros((1500, 1500, 3), dtype=np.uint8)
    for name in ("x.png", "x.jpg"):
        options = [cv2.IMWRITE_PNG_COMPRESSION, 9] if name == "x.png" else [cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        (tmp_path / name).write_bytes(cv2.imencode(Path(name).suffix, black, options)[1].tobytes())
        assert not read_picture(tmp_path / name).any()
    progressive = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    (tmp_path / "p.jpg").write_bytes(cv2.imencode(".jpg", black, progressive)[1].tobytes())
    assert not read_picture(tmp_path / "p.jpg").any()


def test_a_flipped_bit_in_a_mask_is_found(tmp_path: Path, encoded: Encoded) -> None:
    data = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 3, (40, 50), dtype=np.uint8)), "PNG")
    generator = np.random.default_rng(1)
    for place in generator.integers(data.find(b"IDAT") + 4, len(data) - 12, 50):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(generator.integers(8))
        (tmp_path / "x.png").write_bytes(damaged)
        with pytest.raises(UnreadableFileError, match=r"x\.png"):
            read_mask(tmp_path / "x.png")
