"""Paths arrive as the shell passes them, whatever characters they have."""

import shutil

import pytest

AWKWARD = [
    "My Photos (1), a=b",
    "[x]{y} #1 & 100%",
    'it\'s "hi"',
    "Müller/straße",
    "~tilde:back\\slash",
]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", AWKWARD)
def test_checkpoint_input_and_output(run, checkpoint, tmp_path, draw_photo, name):
    place = tmp_path / name
    draw_photo(place / "photos" / "Foto, 1 [a]=b.png")
    shutil.copy(checkpoint, place / "last.ckpt")
    arguments = [f"checkpoint={name}/last.ckpt", f"input={name}/photos", f"output={name}/out"]
    run("predict", *arguments, "crf=none", "hydra.run.dir=logs").worked()
    assert {path.name for path in (place / "out").iterdir()} == {"Foto, 1 [a]=b.png", "Foto, 1 [a]=b_overlay.jpg"}


@pytest.mark.parametrize("name", ["[x]{y}, a=b #1 (2)", "it's Müller"])
def test_data_runs_and_checkpoints_to_resume(run, data, own_data, tmp_path, name):
    root = tmp_path / name / "data"
    shutil.move(data, root)
    (root / "images" / "train" / "0.jpg").rename(root / "images" / "train" / f"{name}.jpg")
    (root / "masks" / "train" / "0.png").rename(root / "masks" / "train" / f"{name}.png")
    arguments = [*own_data, f"data.root={root}"]
    run("train", *arguments, f"hydra.run.dir={name}/first", "data.val_split=train").worked()
    assert (tmp_path / name / "first" / "predictions" / "train" / f"{name}.png").is_file()
    resume = f"resume={name}/first/checkpoints/last.ckpt"
    run("train", *arguments, resume, "optim.max_steps=3", "evaluate=none", f"hydra.run.dir={name}/second").worked()
    assert (tmp_path / name / "second" / "checkpoints" / "last.ckpt").is_file()


def test_a_list_of_ones_own_as_a_split(run, trained, checkpoint, tmp_path):
    (tmp_path / "my list (1), new.txt").write_text("val/1\n")
    run("evaluate", f"checkpoint={checkpoint}", "split=my list (1), new.txt", "crf=none", "output=out").worked()
    assert (tmp_path / "out" / "predictions" / "val" / "1.png").is_file()


def test_a_home_folder(run, checkpoint, tmp_path, draw_photo, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    draw_photo(tmp_path / "photo.png")
    shutil.copy(checkpoint, tmp_path / "last.ckpt")
    run("predict", "checkpoint=~/last.ckpt", "input=~/photo.png", "output=~/out", "crf=none").worked()
    assert (tmp_path / "out" / "photo.png").is_file()
