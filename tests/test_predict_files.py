import os
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import nn

from deeplab import predict_files
from deeplab.errors import InputError
from deeplab.inference.probabilities import Inference
from deeplab.reporting.overlays import overlay
from deeplab.reporting.picture_jobs import plan

NAMES = ["red", "green", "blue"]
PALETTE = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)


class Brightest(nn.Module):
    """Says which channel is the brightest, at every pixel: its predictions can be seen in the picture."""

    num_classes, output_stride, size_multiple = 3, 1, 1

    def __init__(self) -> None:
        super().__init__()
        self.input = SimpleNamespace(pad_rgb=(0.0, 0.0, 0.0))
        self.gain = nn.Parameter(torch.tensor(0.1))

    def forward(self, image):
        return image * self.gain


def read_picture(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise InputError(f"{path} is no picture.") from error


def draw(path: Path, height: int = 12, width: int = 17) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
    return read_picture(path)


def predict(source: Path, output: Path, crf=None, **options):
    console = Console(file=StringIO(), width=200)
    outcome = predict_files.predict(
        Brightest().eval(),
        options.pop("inference", Inference()),
        crf,
        source,
        output,
        NAMES,
        PALETTE,
        read_picture=options.pop("read_picture", read_picture),
        console=console,
        **options,
    )
    return outcome, console.file.getvalue()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_one_photo(tmp_path):
    image = draw(tmp_path / "in" / "a.jpg")
    outcome, _ = predict(tmp_path / "in" / "a.jpg", tmp_path / "out")
    assert files(tmp_path / "out") == {"a.png", "a_overlay.jpg"}
    with Image.open(tmp_path / "out" / "a.png") as labels:
        assert labels.mode == "P"
        np.testing.assert_array_equal(np.asarray(labels), image.argmax(2))
    expected = np.asarray(overlay(image, image.argmax(2), NAMES, PALETTE), dtype=float)
    with Image.open(tmp_path / "out" / "a_overlay.jpg") as shown:
        assert shown.size == expected.shape[1::-1]
        assert np.abs(np.asarray(shown, dtype=float) - expected).mean() < 8  # JPEG
    assert (outcome.written, outcome.exit_code) == (1, 0)
    assert outcome.sentence() == f"1 picture predicted into {tmp_path / 'out'}."


def test_a_folder_keeps_its_structure_and_odd_names(tmp_path):
    source = tmp_path / "in"
    for name in ("a.jpg", "My Photos (1)/Müller, a=b.png", "x/y/[z].JPEG", ".hidden.png", ".git/a.png"):
        draw(source / name)
    (source / "notes.txt").write_text("no picture")
    outcome, _ = predict(source, tmp_path / "out")
    assert files(tmp_path / "out") == {
        "a.png",
        "a_overlay.jpg",
        "My Photos (1)/Müller, a=b.png",
        "My Photos (1)/Müller, a=b_overlay.jpg",
        "x/y/[z].png",
        "x/y/[z]_overlay.jpg",
    }
    assert outcome.written == 3


def test_pictures_that_differ_in_their_ending_only_keep_it(tmp_path):
    images = {name: draw(tmp_path / "in" / name) for name in ("a.jpg", "a.png", "b.png")}
    predict(tmp_path / "in", tmp_path / "out")
    assert files(tmp_path / "out") >= {"a.jpg.png", "a.png.png", "b.png"}
    for name, made in (("a.jpg", "a.jpg.png"), ("a.png", "a.png.png")):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / made)), images[name].argmax(2))


def test_two_pictures_that_would_still_become_one_file_are_refused(tmp_path):
    for name in ("a.jpg", "a.png", "a.jpg.png"):
        draw(tmp_path / "in" / name)
    with pytest.raises(InputError, match="rename one of them"):
        predict(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unreadable_pictures_are_reported_and_the_rest_goes_on(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        draw(tmp_path / "in" / name)
    (tmp_path / "in" / "b.png").write_bytes((tmp_path / "in" / "b.png").read_bytes()[:60])
    outcome, said = predict(tmp_path / "in", tmp_path / "out")
    assert files(tmp_path / "out") == {"a.png", "a_overlay.jpg", "c.png", "c_overlay.jpg"}
    assert (outcome.written, outcome.exit_code) == (2, 1)
    assert f"Skipped: {tmp_path / 'in' / 'b.png'} is no picture." in said
    assert outcome.sentence().endswith("; 1 picture could not be read and went without.")


def test_a_fault_of_ours_is_not_taken_for_an_unreadable_picture(tmp_path):
    draw(tmp_path / "in" / "a.png")

    def broken(path):
        raise RuntimeError("fault")

    with pytest.raises(RuntimeError, match="fault"):
        predict(tmp_path / "in", tmp_path / "out", read_picture=broken)


def test_the_crf_gets_probabilities_and_photo_and_decides(tmp_path):
    image = draw(tmp_path / "in" / "a.png")

    def always_blue(probabilities, photo):
        np.testing.assert_array_equal(photo, image)
        assert probabilities.dtype == np.float32
        np.testing.assert_array_equal(probabilities.argmax(0), image.argmax(2))
        return np.stack([np.zeros(photo.shape[:2], np.float32)] * 2 + [np.ones(photo.shape[:2], np.float32)])

    predict(tmp_path / "in", tmp_path / "out", crf=always_blue)
    assert (np.asarray(Image.open(tmp_path / "out" / "a.png")) == 2).all()


def test_above_max_crf_pixels_the_crf_is_left_out_and_that_is_said(tmp_path):
    small, large = draw(tmp_path / "in" / "a.png", 10, 10), draw(tmp_path / "in" / "b.png", 10, 11)
    outcome, said = predict(
        tmp_path / "in", tmp_path / "out", crf=lambda probs, image: np.roll(probs, 1, 0), max_crf_pixels=100
    )
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "a.png")), np.roll(small, 1, 2).argmax(2))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "b.png")), large.argmax(2))
    assert "b.png: 11 x 10 is more than crf.max_pixels=100." in said
    assert "1 of them without the CRF" in outcome.sentence()
    assert outcome.exit_code == 0


def test_large_pictures_without_crf_never_have_their_probabilities_made(tmp_path, monkeypatch):
    image = draw(tmp_path / "in" / "a.png", 40, 50)
    monkeypatch.delattr(Inference, "probabilities")
    predict(tmp_path / "in", tmp_path / "out", inference=Inference(max_pixels=100, tile=16, overlap=4))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "a.png")), image.argmax(2))


def test_probabilities_are_the_networks_in_half_precision(tmp_path):
    image = draw(tmp_path / "in" / "sub" / "a.png")
    predict(tmp_path / "in", tmp_path / "out", crf=lambda probs, photo: probs[::-1], save_probabilities=True)
    with np.load(tmp_path / "out" / "sub" / "a_probabilities.npz") as arrays:
        saved = arrays["probabilities"]
    assert saved.dtype == np.float16
    expected = Inference().probabilities(Brightest().eval(), image).numpy()
    np.testing.assert_allclose(saved, expected, atol=5e-4)
    # The CRF turned the classes around; what is saved is from before it.
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "sub" / "a.png")), expected[::-1].argmax(0))


def test_an_output_inside_the_input_is_no_input_the_second_time(tmp_path):
    draw(tmp_path / "a.png")
    for _ in range(2):
        outcome, _ = predict(tmp_path, tmp_path / "predictions")
        assert outcome.written == 1
    assert files(tmp_path / "predictions") == {"a.png", "a_overlay.jpg"}


@pytest.mark.parametrize("what", ["folder", "file"])
def test_the_folder_of_the_input_is_no_output(tmp_path, what):
    before = draw(tmp_path / "a.png")
    with pytest.raises(InputError, match="folder of the input"):
        predict(tmp_path if what == "folder" else tmp_path / "a.png", tmp_path / "." / "sub" / "..")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), before)


def test_an_input_behind_a_link_is_not_overwritten(tmp_path):
    before = draw(tmp_path / "out" / "a.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").symlink_to(tmp_path / "out" / "a.png")
    with pytest.raises(InputError, match="overwrite the input"):
        predict(tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(read_picture(tmp_path / "out" / "a.png"), before)


def test_pipes_are_passed_over_and_links_to_nothing_named(tmp_path):
    draw(tmp_path / "in" / "a.png")
    os.mkfifo(tmp_path / "in" / "pipe.jpg")  # reading it would wait for ever
    (tmp_path / "in" / "self.jpg").symlink_to("self.jpg")
    outcome, _ = predict(tmp_path / "in", tmp_path / "out")
    assert (outcome.written, outcome.exit_code) == (1, 1)
    assert len(outcome.skipped) == 1 and "self.jpg" in outcome.skipped[0]


def test_missing_input_and_an_empty_folder(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        predict(tmp_path / "none", tmp_path / "out")
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="no picture in this folder"):
        predict(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("output", ["file", "file/below", "readonly/below"])
def test_an_unwritable_output_is_found_before_any_work(tmp_path, output):
    draw(tmp_path / "in" / "a.png")
    (tmp_path / "file").write_text("")
    (tmp_path / "readonly").mkdir(mode=0o500)
    if output.startswith("readonly") and os.access(tmp_path / "readonly", os.W_OK):
        pytest.skip("this user may write everywhere")

    def unused(path):
        raise AssertionError("work has begun")

    with pytest.raises(InputError, match=r"output=.*cannot be written"):
        predict(tmp_path / "in", tmp_path / output, read_picture=unused)


def test_a_disk_that_fills_up_leaves_no_half_file(tmp_path, monkeypatch):
    draw(tmp_path / "in" / "a.png")

    def full(self, file, **options):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(InputError, match=r"Cannot write .*a.png: No space left"):
        predict(tmp_path / "in", tmp_path / "out")
    assert files(tmp_path / "out") == set()


def test_pictures_of_one_pixel_and_one_row(tmp_path):
    draw(tmp_path / "in" / "a.png", 1, 1)
    draw(tmp_path / "in" / "b.png", 1, 70000)  # longer than a JPEG can be
    outcome, _ = predict(tmp_path / "in", tmp_path / "out")
    assert outcome.written == 2
    assert Image.open(tmp_path / "out" / "b.png").size == (70000, 1)
    assert Image.open(tmp_path / "out" / "b_overlay.jpg").size[0] <= 65500


def test_the_plan_is_sorted_and_a_single_file_may_have_any_ending(tmp_path):
    for name in ("b.png", "a/z.png", "a/c.png"):
        draw(tmp_path / "in" / name)
    assert [job.source.name for job in plan(tmp_path / "in", tmp_path / "out")] == ["c.png", "z.png", "b.png"]
    (tmp_path / "in" / "odd.xyz").write_bytes(b"")
    (job,) = plan(tmp_path / "in" / "odd.xyz", tmp_path / "out")
    assert job.labels == tmp_path / "out" / "odd.png"
