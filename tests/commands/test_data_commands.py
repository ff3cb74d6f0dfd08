"""`deeplab data check`, `prepare` and `validate`, and `predict ... export=`, as a user calls them."""

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

Run = Callable[..., Any]
FOLDER = ("data=folder", "data.layout.splits=folders", "data.class_names=[ground,grass,sky]", "workers=1")


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """A VOCdevkit of three pictures and SBD's files of two more, in a folder with an awkward name."""
    root = tmp_path / "My Data (1), ü=2" / "VOCdevkit"
    voc = root / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True)
    (root / "benchmark_RELEASE/dataset/cls").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("2007_000001", "2007_000002", "2007_000003", "2008_000004", "2008_000005"):
        image = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(image).save(voc / f"JPEGImages/{name}.jpg")
        labels = rng.integers(0, 21, (12, 16), dtype=np.uint8)
        if name.startswith("2007"):
            labels[:2] = 255
            Image.fromarray(labels).save(voc / f"SegmentationClass/{name}.png")
        else:
            savemat(root / f"benchmark_RELEASE/dataset/cls/{name}.mat", {"GTcls": {"Segmentation": labels}})
    (voc / "ImageSets/Segmentation/train.txt").write_text("2007_000001\n2007_000002\n")
    (voc / "ImageSets/Segmentation/val.txt").write_text("2007_000003")
    return root


def prepare(run: Run, root: Path, *more: str) -> Any:
    return run("data prepare", "data=voc12_aug", f"root={root}", "download=false", "workers=1", *more)


def check(run: Run, root: Path, *more: str) -> Any:
    return run("data check", "data=voc12_aug", f"data.root={root}", "workers=1", *more)


def test_prepare_then_check(run: Run, voc: Path) -> None:
    assert "5 masks written" in prepare(run, voc).worked().err
    assert "SegmentationClassAug is complete" in prepare(run, voc).worked().err
    result = check(run, voc).worked()
    assert "train_aug" in result.out and "published are 10582" in result.out and "aeroplane" in result.out
    assert result.written() == {
        path.relative_to(voc.parents[1]).as_posix() for path in voc.rglob("*") if path.is_file()
    }


def test_truth_without_void_is_told(run: Run, voc: Path) -> None:
    prepare(run, voc)
    for path in (voc / "VOC2012/SegmentationClassAug").glob("*.png"):
        Image.fromarray(np.asarray(Image.open(path)) % 21).save(path)
    result = check(run, voc, "data.layout.masks=[SegmentationClassAug]").worked()
    assert "val: 1 of 1 masks have no void" in result.out and "5 to 6 points" in result.out
    assert "have no void" not in check(run, voc).worked().out


def test_check_ends_with_status_1(run: Run, voc: Path) -> None:
    prepare(run, voc)
    (voc / "VOC2012/JPEGImages/2008_000004.jpg").unlink()
    mask = voc / "VOC2012/SegmentationClass/2007_000003.png"
    mask.write_bytes(mask.read_bytes()[:60])
    result = check(run, voc)
    assert result.code == 1 and not result.crashed
    assert "train_aug: missing files: 1" in result.out and "val: files that cannot be read: 1" in result.out


def test_check_of_ones_own_folder(run: Run, data: Path) -> None:
    assert "Nothing is wrong." in run("data check", *FOLDER, f"data.root={data}").worked().out
    shutil.copy(data / "images/train/0.jpg", data / "images/val/9.jpg")
    shutil.copy(data / "masks/train/0.png", data / "masks/val/9.png")
    result = run("data check", *FOLDER, f"data.root={data}")
    assert result.code == 1 and "of the same content" in result.out


def test_check_draws_pictures_masks_and_training_crops(run: Run, data: Path, tmp_path: Path) -> None:
    (data / "images/train/1.jpg").write_bytes(b"no picture")
    palette = "data.palette=[[0,0,0],[0,255,0],[250,20,30]]"
    result = run("data check", *FOLDER, f"data.root={data}", "output=Blätter 1", "data.crop_size=33", palette)
    assert result.code == 1 and "files that cannot be read: 1" in result.out
    folder = tmp_path / "Blätter 1"
    assert {path.name for path in folder.iterdir()} == {"train.png", "train_crops.png", "val.png"}
    assert f"{Path('Blätter 1') / 'train_crops.png'} shows some pictures of train." in result.out
    for path in folder.iterdir():
        colours = {tuple(colour) for colour in np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)}
        assert {(0, 255, 0), (250, 20, 30)} <= colours
    # Three rows, for one of the four pictures cannot be read; crops are square.
    heights = [Image.open(folder / name).height for name in ("val.png", "train.png")]
    assert heights[1] - heights[0] > 200


@pytest.mark.parametrize(
    ("command", "arguments", "parts"),
    [
        ("data check", [*FOLDER, "data.root=data", "output=data/images/val/0.jpg"], ["output=", "cannot be written"]),
        ("data check", [*FOLDER, "data.root=data", "output=x", "data.scales=[]"], ["data.scales=[]"]),
        ("data check", ["data=scenes"], ["there are no files to check"]),
        ("data check", [], ["You must specify 'data'"]),
        ("data check", ["data=voc12", "data.root=nowhere"], ["nowhere/VOC2012/JPEGImages", "data.root"]),
        ("data check", [*FOLDER, "data.root=data", "workers=0"], ["workers=0"]),
        ("data prepare", ["data=folder", "root=x", "data.class_names=[a]"], ["there is nothing to prepare"]),
        ("data prepare", ["data=voc12", "root=x", "download=false"], ["PASCAL VOC 2012 is not there"]),
        ("data prepare", ["data=voc12", "root=x", "archives=nothing.tar"], ["there is no file", "nothing.tar"]),
        ("data prepare", ["data=voc12", "root=x", "mirror=http://127.0.0.1:1", "workers=0"], ["workers=0"]),
        ("data validate", ["archive=a.tgz", "format=coco"], ["format=coco: choose one of voc12"]),
        ("data validate", ["archive=a b.tgz", "format=voc12"], ["a b.tgz: there is no such file"]),
        ("data validate", ["archive=a.tgz", "format=voc12", "count=0"], ["count=0"]),
    ],
)
def test_mistakes_are_one_sentence(run: Run, data: Path, command: str, arguments: list[str], parts: list[str]) -> None:
    run(command, *arguments).refused(*parts)


def test_a_file_in_the_roots_place(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert "file" in prepare(run, tmp_path / "file").refused("cannot be written", code=2)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.slow
def test_prepare_that_is_killed_leaves_nothing_half_made(voc: Path) -> None:
    for number in range(400):
        labels = np.random.default_rng(number).integers(0, 21, (375, 500), dtype=np.uint8)
        savemat(voc / f"benchmark_RELEASE/dataset/cls/2009_{number:06}.mat", {"GTcls": {"Segmentation": labels}})
    command = [
        sys.executable,
        "-m",
        "deeplab.cli",
        "data",
        "prepare",
        "data=voc12_aug",
        f"root={voc}",
        "download=false",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    folder = voc / "VOC2012/SegmentationClassAug"
    child = subprocess.Popen(command, cwd=voc, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(folder.glob("*.png"))) < 40:
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    made = sorted(folder.glob("*.png"))
    assert 40 <= len(made) < 405
    for path in made:
        Image.open(path).load()
    subprocess.run(command, cwd=voc, env=environment, check=True, stderr=subprocess.DEVNULL)
    assert len(list(folder.glob("*.png"))) == 405


def test_export_of_the_wrong_network_is_refused_before_any_work(
    run: Run, checkpoint: str, tmp_path: Path, draw_photo: Callable[..., Path]
) -> None:
    draw_photo(tmp_path / "photos/2008_000006.jpg")
    arguments = (f"checkpoint={checkpoint}", "input=photos", "output=out")
    run("predict", *arguments, "export=voc12").refused("export=voc12: the network has other classes (3:")
    run("predict", *arguments, "export=coco").refused("export=coco: choose one of voc12")
    assert not (tmp_path / "out").exists()


def test_export_and_validate(run: Run, tmp_path: Path, draw_photo: Callable[..., Path]) -> None:
    classes = (
        "background,aeroplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,diningtable,dog,horse,motorbike,person"
    )
    classes += ",pottedplant,sheep,sofa,train,tvmonitor"
    root = tmp_path / "data"
    for split in ("train", "val"):
        (root / "masks" / split).mkdir(parents=True)
        for number in range(2):
            draw_photo(root / f"images/{split}/{number}.jpg", 40, 48)
            Image.fromarray(np.full((40, 48), number, np.uint8)).save(root / f"masks/{split}/{number}.png")
    run(
        "train", "model/backbone=resnet18", "model.backbone.width=0.125", "model/head=classifier", "crf=none",
        "model/input=imagenet_rgb", "data=folder", f"data.root={root}", "data.layout.splits=folders",
        f"data.class_names=[{classes}]", "data.crop_size=33", "data.num_workers=0", "optim.max_steps=1",
        "optim.global_batch_size=2", "optim.loss_group=2", "trainer.progress_bar=false", "evaluate=none",
        "hydra.run.dir=run",
    ).worked()  # fmt: skip
    for name in ("2008_000006.jpg", "2008_000011.jpg"):
        draw_photo(tmp_path / "photos" / name, 20 + len(name), 24)
    result = run("predict", "checkpoint=run/checkpoints/last.ckpt", "input=photos", "output=out", "export=voc12")
    assert "2 of 1456 pictures" in result.worked().err
    with tarfile.open(tmp_path / "out/voc12_results.tgz") as packed:
        assert all(name.startswith("results/VOC2012/Segmentation/comp6_test_cls/2008_") for name in packed.getnames())
    arguments = ("archive=out/voc12_results.tgz", "format=voc12")
    assert "2 pictures, as voc12 takes them." in run("data validate", *arguments, "images=photos").worked().out
    result = run("data validate", *arguments)
    assert result.code == 1 and "there are 2 pictures, not 1456" in result.out
    result = run("data validate", *arguments, "count=2").worked()
    assert "Not checked: their sizes (images=...) and that they are the right ones" in result.out.replace("\n", " ")
