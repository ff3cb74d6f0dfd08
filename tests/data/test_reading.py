"""Pictures and masks: every colour mode as Pillow decodes it, every damaged file named."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from deeplab.data.reading import UInt8Array, read_mask, read_picture
from deeplab.errors import InputError, UnreadableFileError

Encoded = Callable[..., bytes]
Smooth = Callable[..., UInt8Array]


def as_mode(picture: UInt8Array, mode: str) -> Image.Image:
    image = Image.fromarray(picture)
    if mode == "RGBA":
        image.putalpha(100)
        return image
    return image.quantize(32) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "format", "tolerance"),
    [
        ("RGB", "JPEG", 0),
        ("L", "JPEG", 0),
        ("CMYK", "JPEG", 1),
        ("RGB", "PNG", 0),
        ("L", "PNG", 0),
        ("LA", "PNG", 0),
        ("P", "PNG", 0),
        ("1", "PNG", 0),
        ("RGB", "BMP", 0),
        ("RGB", "TIFF", 0),
        ("RGB", "WEBP", 0),
    ],
)
def test_picture_modes_equal_pillow(
    tmp_path: Path, smooth: Smooth, encoded: Encoded, mode: str, format: str, tolerance: int
) -> None:
    path = tmp_path / f"picture.{format.lower()}"
    path.write_bytes(encoded(as_mode(smooth(40, 50), mode), format, **({"lossless": True} if format == "WEBP" else {})))
    expected = np.asarray(Image.open(path).convert("RGB"), dtype=int)
    picture = read_picture(path)
    assert picture.dtype == np.uint8
    assert np.abs(picture - expected).max() <= tolerance


def test_alpha_is_dropped_not_blended(tmp_path: Path, smooth: Smooth, encoded: Encoded) -> None:
    picture = smooth(20, 30)
    (tmp_path / "x.png").write_bytes(encoded(as_mode(picture, "RGBA"), "PNG"))
    assert np.array_equal(read_picture(tmp_path / "x.png"), picture)


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bit_pictures_keep_their_high_bits(tmp_path: Path, smooth: Smooth, channels: int) -> None:
    picture = smooth(20, 30)[:, :, :channels]
    deep = picture.astype(np.uint16) * 257
    ok, data = cv2.imencode(".png", deep[:, :, ::-1].copy())
    assert ok
    (tmp_path / "x.png").write_bytes(data.tobytes())
    assert np.array_equal(read_picture(tmp_path / "x.png"), np.broadcast_to(picture, (20, 30, 3)))


# What a viewer does to the stored pixels for each EXIF orientation (Exif 2.3, section 4.6.4).
ORIENTATIONS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(a[::-1, ::-1], 0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_exif_rotation_is_applied(
    tmp_path: Path, smooth: Smooth, encoded: Encoded, format: str, orientation: int
) -> None:
    image = Image.fromarray(smooth(16, 32))
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    (tmp_path / "plain").write_bytes(encoded(image, format, **options))
    (tmp_path / "turned").write_bytes(encoded(image, format, exif=exif, **options))
    expected = ORIENTATIONS[orientation](read_picture(tmp_path / "plain"))
    assert np.array_equal(read_picture(tmp_path / "turned"), expected)


def test_a_mask_with_exif_is_turned_like_its_picture(tmp_path: Path, encoded: Encoded) -> None:
    label = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = Image.fromarray(label)
    image.putpalette([(7 * i) % 256 for i in range(768)])
    exif = Image.Exif()
    exif[274] = 6
    (tmp_path / "x.png").write_bytes(encoded(image, "PNG", exif=exif))
    assert np.array_equal(read_mask(tmp_path / "x.png"), np.rot90(label, -1))


@pytest.mark.parametrize("name", ["My Photo (1)", "Müller", "epoch=3", "a,b", "[x]", "日本"])
def test_any_file_name(tmp_path: Path, smooth: Smooth, name: str) -> None:
    path = tmp_path / f"{name}.png"
    Image.fromarray(smooth(8, 9)).save(path)
    Image.fromarray(np.full((8, 9), 3, dtype=np.uint8)).save(tmp_path / f"{name} mask.png")
    assert read_picture(path).shape == (8, 9, 3)
    assert (read_mask(tmp_path / f"{name} mask.png") == 3).all()


@pytest.mark.parametrize("size", [(1, 1), (6000, 8000)])
def test_smallest_and_large_pictures(tmp_path: Path, size: tuple[int, int]) -> None:
    grey = np.full(size, 7, dtype=np.uint8)
    for name in ("x.jpg", "x.png"):
        (tmp_path / name).write_bytes(cv2.imencode(Path(name).suffix, grey)[1].tobytes())
    assert read_picture(tmp_path / "x.jpg").shape == (*size, 3)
    mask = read_mask(tmp_path / "x.png")
    assert mask.shape == size and mask.min() == mask.max() == 7


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("BMP", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_a_picture_that_breaks_off_is_named(
    tmp_path: Path, smooth: Smooth, encoded: Encoded, format: str, options: dict[str, object]
) -> None:
    data = encoded(Image.fromarray(smooth(120, 160)), format, **options)
    path = tmp_path / "broken picture"
    for length in [*np.linspace(1, len(data) - 1, 15).astype(int), len(data) - 2]:
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match="broken picture"):
            read_picture(path)


def test_a_mask_that_breaks_off_is_named_or_whole(tmp_path: Path, encoded: Encoded) -> None:
    label = np.random.default_rng(0).integers(0, 21, (90, 120), dtype=np.uint8)
    image = Image.fromarray(label)
    image.putpalette(list(range(256)) * 3)
    data = encoded(image, "PNG")
    refused = 0
    for length in np.linspace(1, len(data) - 1, 40).astype(int):
        (tmp_path / "broken.png").write_bytes(data[:length])
        try:
            assert np.array_equal(read_mask(tmp_path / "broken.png"), label)
        except InputError as error:
            assert "broken.png" in str(error)
            refused += 1
    assert refused >= 38  # only what lacks nothing but the end marker may pass


def test_palette_indices_are_labels_whatever_their_colours(tmp_path: Path) -> None:
    label = np.array([[0, 1, 2], [20, 255, 7]], dtype=np.uint8)
    image = Image.fromarray(label)
    image.putpalette([255 - i // 3 for i in range(768)])
    image.save(tmp_path / "p.png")
    Image.fromarray(label).save(tmp_path / "grey.png")
    assert np.array_equal(read_mask(tmp_path / "p.png"), label)
    assert np.array_equal(read_mask(tmp_path / "grey.png"), label)


def test_one_bit_mask_is_zero_and_one(tmp_path: Path) -> None:
    Image.fromarray(np.array([[False, True]])).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png").tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("mode", "suffix", "words"),
    [
        ("RGB", ".png", "colours"),
        ("RGBA", ".png", "colours"),
        ("LA", ".png", "alpha channel"),
        ("I;16", ".png", "more than 8 bits"),
        ("L", ".jpg", "JPEG"),
    ],
)
def test_a_mask_of_the_wrong_kind_is_refused(tmp_path: Path, mode: str, suffix: str, words: str) -> None:
    path = tmp_path / f"mask{suffix}"
    if mode == "I;16":
        Image.fromarray(np.ones((4, 5), dtype=np.uint16)).save(path)
    else:
        Image.new(mode, (5, 4)).save(path)
    with pytest.raises(InputError, match=f"mask{re.escape(suffix)}.*{words}"):
        read_mask(path)


@pytest.mark.parametrize("read", [read_picture, read_mask])
@pytest.mark.parametrize(
    ("content", "words"), [(None, "no such file"), (b"", "empty"), (b"not a picture", "can be read")]
)
def test_a_file_without_a_picture_is_named(
    tmp_path: Path, read: Callable[[Path], UInt8Array], content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(InputError, match=f"x.png.*{words}"):
        read(tmp_path / "x.png")


@pytest.mark.parametrize("read", [read_picture, read_mask])
def test_a_folder_is_no_picture(tmp_path: Path, read: Callable[[Path], UInt8Array]) -> None:
    (tmp_path / "x.png").mkdir()
    with pytest.raises(InputError, match=r"x\.png.*cannot be read"):
        read(tmp_path / "x.png")


@pytest.mark.parametrize("read", [read_picture, read_mask])
def test_a_pipe_is_named_rather_than_waited_for(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UnreadableFileError, match=r"pipe\.png: it is a pipe"):
        read(tmp_path / "pipe.png")
