"""`deeplab predict` on the pictures that people have."""

import shutil

import numpy as np
import pytest
from PIL import Image

MODES = {"grey.png": "L", "grey.jpg": "L", "cmyk.jpg": "CMYK", "rgba.png": "RGBA", "palette.png": "P", "bit.png": "1"}


def labels(path):
    with Image.open(path) as image:
        assert image.mode == "P"
        values = np.asarray(image)
    assert values.max() < 3
    return values


def predict(run, checkpoint, *overrides):
    return run("predict", f"checkpoint={checkpoint}", "input=in", "output=out", *overrides)


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_validation_picture_is_predicted_as_evaluate_does(run, trained, checkpoint, tmp_path):
    shutil.copytree(trained.data / "images" / "val", tmp_path / "in")
    for overrides, reference in ((["crf=none"], "predictions"), ([], "predictions_crf")):
        predict(run, checkpoint, *overrides).worked()
        for number in range(3):
            expected = labels(trained.folder / reference / "val" / f"{number}.png")
            np.testing.assert_array_equal(labels(tmp_path / "out" / f"{number}.png"), expected)
            assert len(np.unique(expected)) > 1


def test_pictures_of_every_mode_and_a_single_pixel(run, checkpoint, tmp_path, draw_photo):
    for name, mode in MODES.items():
        draw_photo(tmp_path / "in" / "sub" / name, mode=mode)
    draw_photo(tmp_path / "in" / "pixel.png", 1, 1)
    predict(run, checkpoint).worked()
    assert labels(tmp_path / "out" / "pixel.png").shape == (1, 1)
    names = {"grey.png", "grey.jpg"}  # of one stem: they keep their endings
    for name in MODES:
        made = f"{name}.png" if name in names else f"{name.split('.')[0]}.png"
        assert labels(tmp_path / "out" / "sub" / made).shape == (24, 31)
    assert len(files(tmp_path / "out")) == 2 * (len(MODES) + 1)


def test_a_photo_that_was_turned_is_predicted_as_it_is_seen(run, checkpoint, tmp_path, draw_photo):
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera turned to the side
    draw_photo(tmp_path / "in" / "turned.jpg", 24, 31, exif=exif)
    predict(run, checkpoint).worked()
    assert labels(tmp_path / "out" / "turned.png").shape == (31, 24)
    with Image.open(tmp_path / "out" / "turned_overlay.jpg") as overlay:
        assert overlay.height >= 31


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_truncated_picture_is_reported_and_the_others_are_predicted(run, checkpoint, tmp_path, draw_photo, suffix):
    path = draw_photo(tmp_path / "in" / f"b{suffix}", 60, 80)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    draw_photo(tmp_path / "in" / "a.png")
    draw_photo(tmp_path / "in" / "c.png")
    (tmp_path / "in" / "d.png").write_bytes(b"")
    result = predict(run, checkpoint, "crf=none")
    assert (result.code, result.crashed) == (1, False)
    assert f"Skipped: in/b{suffix}: " in result.err
    assert "Skipped: in/d.png: the file is empty" in result.err
    assert "2 pictures predicted into out; 2 pictures could not be read" in result.err
    assert files(tmp_path / "out") == {"a.png", "a_overlay.jpg", "c.png", "c_overlay.jpg"}


def test_a_picture_too_large_for_the_crf_goes_without_and_that_is_said(run, checkpoint, tmp_path, draw_photo):
    draw_photo(tmp_path / "in" / "large.png", 40, 50)
    tiles = ["inference.max_pixels=1000", "inference.tile=33", "inference.overlap=8"]
    result = predict(run, checkpoint, "crf.max_pixels=1999", *tiles).worked()
    assert "large.png: 50 x 40 is more than crf.max_pixels=1999" in result.err
    assert "without the CRF" in result.err
    assert labels(tmp_path / "out" / "large.png").shape == (40, 50)


def test_probabilities_on_request(run, checkpoint, tmp_path, draw_photo):
    draw_photo(tmp_path / "in" / "a.png")
    predict(run, checkpoint, "crf=none", "save_probabilities=true").worked()
    with np.load(tmp_path / "out" / "a_probabilities.npz") as arrays:
        probabilities = arrays["probabilities"]
    assert (probabilities.shape, probabilities.dtype) == ((3, 24, 31), np.float16)
    np.testing.assert_allclose(probabilities.astype(float).sum(0), 1, atol=5e-3)
    np.testing.assert_array_equal(probabilities.argmax(0), labels(tmp_path / "out" / "a.png"))


MISTAKES = [
    (["output=in"], ["output=in", "folder of the input", "name another"]),
    (["output=in/a.png/out"], ["output=in/a.png/out", "cannot be written"]),
    (["output=/proc/nowhere"], ["output=/proc/nowhere", "cannot be written"]),
    (["output=labels.png"], ["output=labels.png", "into a folder", "output=labels."]),
    (["input=in/a.png", "output=b.JPG"], ["output=b.JPG", "into a folder", "output=b."]),
    (["input=nowhere"], ["input=nowhere", "no such file or folder"]),
    (["input=empty"], ["input=empty", "no picture in this folder"]),
    (["crf.iteration=3"], ["no key crf.iteration", "did you mean crf.iterations?"]),
    (["inference.tile=abc"], ["inference.tile", "not a whole number"]),
    (["crf.backend=fast"], ["crf.backend", "'fast'"]),
]


@pytest.mark.parametrize(("overrides", "parts"), MISTAKES, ids=lambda value: str(value[0]))
def test_mistakes_are_named_before_any_work(run, checkpoint, tmp_path, draw_photo, overrides, parts):
    draw_photo(tmp_path / "in" / "a.png")
    (tmp_path / "empty").mkdir()
    given = {each.split("=")[0] for each in overrides}
    usual = [each for each in ("input=in", "output=out") if each.split("=")[0] not in given]
    result = run("predict", f"checkpoint={checkpoint}", *usual, *overrides)
    result.refused(*parts)
    assert result.written() == {"in/a.png"}
