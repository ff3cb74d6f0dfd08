"""`deeplab crf`: files of scores in, label maps out."""

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console

from deeplab.crf import CRFParams, DenseCRF
from deeplab.crf.workers import CRFWorkers
from deeplab.data.palette import voc_palette
from deeplab.data.reading import read_mask, read_picture
from deeplab.errors import InputError
from deeplab.refine_files import refine
from deeplab.reporting.picture_jobs import Outcome

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (3, 4, 5)).astype(np.float32)
IMAGE = RNG.integers(0, 256, (16, 19, 3)).astype(np.uint8)
PARAMS = CRFParams(iterations=3, bilateral_xy_std=10, bilateral_rgb_std=20)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "images" / "sub").mkdir(parents=True)
    (tmp_path / "probs" / "sub").mkdir(parents=True)
    for name in ("a", "sub/b", "sub/c"):
        Image.fromarray(IMAGE).save(tmp_path / "images" / f"{name}.png")
    np.savez(tmp_path / "probs" / "a.npz", logits=LOGITS)
    np.savez(tmp_path / "probs" / "sub" / "b.npz", probabilities=torch.from_numpy(LOGITS).softmax(0).numpy())
    np.save(tmp_path / "probs" / "sub" / "c.npy", LOGITS)
    return tmp_path


def run(place: Path, workers: CRFWorkers | None, **options) -> tuple[Outcome, str]:
    console = Console(file=StringIO(), width=300)
    images, probs = options.pop("images", place / "images"), options.pop("probs", place / "probs")
    arguments = {"read_picture": read_picture, "console": console, **options}
    outcome = refine(workers, images, probs, place / "out", voc_palette(), **arguments)
    return outcome, console.file.getvalue()  # type: ignore[attr-defined]


def enlarged(align_corners: bool = False) -> np.ndarray:
    logits = torch.from_numpy(LOGITS)[None]
    return F.interpolate(logits, (16, 19), mode="bilinear", align_corners=align_corners)[0].softmax(0).numpy()


def test_labels_are_those_of_the_crf(place: Path) -> None:
    with CRFWorkers(PARAMS, num_workers=1) as workers:
        outcome, _ = run(place, workers)
    expected = DenseCRF(PARAMS)(enlarged(), IMAGE).argmax(0)
    assert (expected != enlarged().argmax(0)).any()
    for name in ("a", "sub/c"):
        np.testing.assert_array_equal(read_mask(place / "out" / f"{name}.png"), expected)
    with Image.open(place / "out" / "a.png") as image:
        assert image.mode == "P"
        assert image.getpalette()[3:6] == [128, 0, 0]
    assert outcome.exit_code == 0
    assert outcome.sentence() == f"3 pictures refined into {place / 'out'}."


def test_files_that_cannot_be_read_are_reported_and_skipped(place: Path) -> None:
    (place / "probs" / "sub" / "c.npy").unlink()
    (place / "images" / "a.png").write_bytes(b"no picture")
    outcome, said = run(place, None)
    assert [path.name for path in (place / "out").rglob("*.png")] == ["b.png"]
    assert outcome.exit_code == 1
    assert outcome.sentence().endswith(
        "; 1 picture could not be read and went without; 1 picture went without, for scores are missing or could not "
        "be used."
    )
    assert "a.png: this is no picture that can be read" in said
    assert "sub/c.png: there are no scores of it in" in said


def test_what_the_crf_refuses_is_skipped_too(place: Path) -> None:
    params = CRFParams(iterations=1, compatibility=((0, 1), (1, 0)))
    with CRFWorkers(params, num_workers=1) as workers:
        outcome, said = run(place, workers)
    assert len(outcome.skipped) == 3
    assert outcome.sentence().endswith("; 3 pictures went without, for scores are missing or could not be used.")
    assert "compatibility for 2 labels, but the scores hold 3" in said


def test_large_pictures_stay_as_they_are(place: Path) -> None:
    with CRFWorkers(PARAMS, num_workers=1) as workers:
        outcome, said = run(place, workers, max_crf_pixels=16 * 19 - 1, images=place / "images" / "a.png")
    np.testing.assert_array_equal(read_mask(place / "out" / "a.png"), enlarged().argmax(0))
    assert outcome.unrefined == [place / "images" / "a.png"]
    assert "19 x 16 is more than crf.max_pixels=303" in said


def test_corners_are_placed_as_told(place: Path) -> None:
    run(place, None, align_corners=True)
    np.testing.assert_array_equal(read_mask(place / "out" / "a.png"), enlarged(align_corners=True).argmax(0))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"images": Path("/nowhere")}, "images=/nowhere: there is no such file or folder"),
        ({"probs": Path("/nowhere")}, "probs=/nowhere: there is no such folder"),
    ],
)
def test_mistakes_are_one_sentence(place: Path, options: dict[str, Path], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        run(place, None, **options)
