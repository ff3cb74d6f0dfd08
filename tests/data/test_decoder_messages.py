"""Decoders print nothing: a file that is refused has our sentence alone, a harmless defect not even that."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from deeplab.data.decoder_messages import SilentDecoders
from deeplab.data.reading import UInt8Array, read_picture

Encoded = Callable[..., bytes]
Smooth = Callable[..., UInt8Array]

READ_ALL = """
import sys
from pathlib import Path
from deeplab.data.reading import read_mask, read_picture
from deeplab.errors import InputError
for path in sorted(Path(sys.argv[1]).iterdir()):
    for read in (read_picture, read_mask):
        try:
            read(path)
        except InputError as error:
            print(error)
"""


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


@pytest.fixture
def picture(smooth: Smooth) -> Image.Image:
    return Image.fromarray(smooth(60, 80))


@pytest.fixture
def jpeg_with_needless_bytes(picture: Image.Image, encoded: Encoded) -> bytes:
    data = encoded(picture, "JPEG")
    return data[:-2] + bytes(30) + data[-2:]


def test_without_us_they_print(jpeg_with_needless_bytes: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    cv2.imdecode(np.frombuffer(jpeg_with_needless_bytes, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert "Corrupt JPEG data" in capfd.readouterr().err


def test_a_harmless_defect_is_not_mentioned(
    tmp_path: Path, jpeg_with_needless_bytes: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.jpg").write_bytes(jpeg_with_needless_bytes)
    assert read_picture(tmp_path / "x.jpg").shape == (60, 80, 3)
    assert capfd.readouterr() == ("", "")


def test_damaged_files_have_our_sentences_alone(tmp_path: Path, picture: Image.Image, encoded: Encoded) -> None:
    options = {"PNG": {}, "TIFF": {"compression": "tiff_lzw"}, "BMP": {}, "WEBP": {}}
    for format, how in options.items():
        for mode in ("RGB", "L"):
            data = encoded(picture.convert(mode), format, **how)
            for number, damaged in enumerate((data[: len(data) // 2], flipped(data[:40]) + data[40:], flipped(data))):
                (tmp_path / f"{format} {mode} {number}").write_bytes(damaged)
    # A process of its own: pytest takes Python's warnings away from the screen.
    done = subprocess.run([sys.executable, "-c", READ_ALL, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    refused = done.stdout.splitlines()
    assert len(refused) > 24 and all(line.startswith(str(tmp_path)) for line in refused)


def test_what_python_prints_meanwhile_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    with SilentDecoders():
        print("kept", file=sys.stderr, flush=True)
    assert "kept" in capfd.readouterr().err
