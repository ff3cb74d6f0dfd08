"""Data that training cannot use: the file, what is wrong with it and the remedy, status 2, no checkpoint."""

import errno
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image


def mask(data, name="0", split="train"):
    return data / "masks" / split / f"{name}.png"


def picture(data, name="0", split="train"):
    return data / "images" / split / f"{name}.jpg"


def save(path, array, mode=None):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)


def without_root(data):
    data.rename(data.with_name("elsewhere"))
    return ["data/images", "data.root"]


def without_a_mask(data):
    mask(data, "2").unlink()
    return [str(mask(data, "2")), str(picture(data, "2")), "1 of 4 masks are missing"]


def other_size(data):
    save(mask(data), np.zeros((40, 47), np.uint8))
    return [str(mask(data)), "47x40", str(picture(data)), "48x40", "same size"]


def label_outside(data):
    label = np.asarray(Image.open(mask(data))).copy()
    label[3, 4] = 7
    save(mask(data), label)
    return [str(mask(data)), "label 7", "0..2", "255", "data.label_map"]


def sixteen_bits(data):
    save(mask(data), np.zeros((40, 48), np.uint16))
    return [str(mask(data)), "more than 8 bits", "8-bit grey or palette PNG"]


def colours(data):
    save(mask(data), np.zeros((40, 48, 3), np.uint8))
    return [str(mask(data)), "colours (mode RGB)", "8-bit grey or palette PNG"]


def only_0_and_255(data):
    for path in (data / "masks").rglob("*.png"):
        save(path, np.where(np.asarray(Image.open(path)) > 0, 255, 0).astype(np.uint8))
    return ["masks/train/0.png", "only 0 and 255", "data.label_map={255: 1}"]


def truncated_jpeg(data):
    path = picture(data, "3")
    path.write_bytes(path.read_bytes()[:500])
    return [str(path), "breaks off", "replace"]


def truncated_mask(data):
    path = mask(data, "3")
    path.write_bytes(path.read_bytes()[:-40])
    return [str(path), "breaks off", "replace"]


def empty_picture(data):
    picture(data).write_bytes(b"")
    return [str(picture(data)), "empty"]


def text_as_picture(data):
    picture(data).write_text("not a picture")
    return [str(picture(data)), "no picture"]


def truncated_in_validation(data):
    path = picture(data, "1", "val")
    path.write_bytes(path.read_bytes()[:500])
    return [str(path), "breaks off"]


MISTAKES = [without_root, without_a_mask, other_size, label_outside, sixteen_bits, colours, only_0_and_255]
MISTAKES += [truncated_jpeg, truncated_mask, empty_picture, text_as_picture, truncated_in_validation]


def nothing_trained(result, *parts):
    """Whether a refused training, whose sentence has `parts`, left neither a checkpoint nor a score."""
    result.refused(*parts)
    return not [path for path in result.written() if "checkpoints" in path or path.endswith("metrics.json")]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_data_that_cannot_be_used_are_named(run, data, own_data, mistake):
    parts = mistake(data)
    more = ["trainer.val_every_n_steps=1"] if mistake is truncated_in_validation else []
    result = run("train", *own_data, *more, "hydra.run.dir=run")
    result.refused(*parts)
    written = {path for path in result.written() if path.startswith("run/")}
    # Before a validation the state is kept, so that a broken one can be taken up again.
    assert written <= {"run/metrics.csv", "run/checkpoints/last.ckpt"}
    if mistake is without_root:  # known before anything is written
        assert not (result.folder / "run").exists()
        return
    record = json.loads((result.folder / "run" / "run.json").read_text())
    assert record["state"] == "failed"
    assert parts[0] in record["error"]


@pytest.mark.slow
def test_a_worker_process_names_the_file_too(run, data, own_data):
    parts = truncated_jpeg(data)
    assert nothing_trained(run("train", *own_data, "data.num_workers=1"), *parts)


VOC = ["data=voc12", "data.root=VOCdevkit", "data.crop_size=33", "data.num_workers=0"]


@pytest.fixture
def voc(tmp_path):
    """A VOCdevkit with one picture in train, and its folder VOC2012."""
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    save(folder / "JPEGImages" / "a.jpg", np.zeros((40, 48, 3), np.uint8))
    save(folder / "SegmentationClass" / "a.png", np.zeros((40, 48), np.uint8), "P")
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    return folder


def test_a_root_without_the_data_set(run, tmp_path, scenes):
    result = run("train", *scenes[:9], *VOC)
    assert nothing_trained(result, "VOCdevkit/VOC2012/JPEGImages", "no such folder", "data.root")


def test_a_list_that_is_missing(run, voc, scenes):
    result = run("train", *scenes[:9], *VOC)
    assert nothing_trained(result, "ImageSets/Segmentation/val.txt", "no such list", "['train']")


@pytest.mark.parametrize("missing", ["JPEGImages/b.jpg", "SegmentationClass/b.png"])
def test_a_line_without_its_file(run, voc, scenes, missing):
    (voc / "ImageSets" / "Segmentation" / "val.txt").write_text("a\nb\n")
    if missing.startswith("Seg"):
        save(voc / "JPEGImages" / "b.jpg", np.zeros((40, 48, 3), np.uint8))
    assert nothing_trained(run("train", *scenes[:9], *VOC), "val.txt, line 2", missing, "remove the line")


def test_a_loss_that_is_not_finite_stops_and_names_the_pictures(run, own_data):
    result = run("train", *own_data, "optim.lr=1e30", "optim.max_steps=9", "hydra.run.dir=run")
    sentence = result.refused("NaN or infinite at step", "run/not_finite.json", "optim.lr")
    document = json.loads((result.folder / "run" / "not_finite.json").read_text())
    assert f"step {document['step']};" in sentence
    assert sorted(document["ids"]) == ["train/0", "train/1", "train/2", "train/3"]
    assert not (result.folder / "run" / "checkpoints").exists()
    assert json.loads((result.folder / "run" / "run.json").read_text())["state"] == "failed"


@pytest.mark.parametrize("place", ["data/masks/train/0.png/run", "/proc/nowhere"])
def test_a_runs_folder_that_cannot_be_made(run, own_data, place):
    for flags, key in (([], "hydra.run.dir"), (["-m"], "hydra.sweep.dir")):
        result = run("train", *flags, *own_data, f"{key}={place}")
        result.refused("folder", place, "cannot be written", f"set {key}")
        assert {path.split("/")[0] for path in result.written()} == {"data"}


def test_a_disk_that_is_full_from_the_start(run, own_data, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("hydra.core.utils._save_config", full)
    result = run("train", *own_data)
    assert nothing_trained(result, "The run's folder cannot be written (No space left", "set hydra.run.dir")


def test_a_checkpoint_that_cannot_be_written(run, tmp_path, own_data):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").write_text("a file where a folder has to be")
    run("train", *own_data, "hydra.run.dir=run").refused("run/checkpoints/last.ckpt", "cannot be written")


def test_a_disk_that_is_full(run, own_data, monkeypatch):
    def full(checkpoint, file):
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            file.write(b"half a checkpoint")
            raise RuntimeError("[enforce fail at inline_container.cc] unexpected pos")  # noqa: B904 - as torch does

    monkeypatch.setattr(torch, "save", full)
    result = run("train", *own_data, "hydra.run.dir=run")
    result.refused("run/checkpoints/last.ckpt", "No space left", "hydra.run.dir")
    assert not any((result.folder / "run" / "checkpoints").iterdir())
