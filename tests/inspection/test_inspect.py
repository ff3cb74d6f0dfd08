"""What `data check` finds, against masks counted by hand and faults made on purpose."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from deeplab.data.folder import ImageMaskFolder
from deeplab.data.labels import LabelRule
from deeplab.errors import InputError
from deeplab.inspection.inspect import Report, inspect
from deeplab.inspection.published import PUBLISHED
from deeplab.inspection.scan import Fault
from deeplab.inspection.tables import print_report

Draw = Callable[..., Path]


def look(root: Path, quiet: Console, name: str = "mine", classes: int = 3, workers: int | None = 1) -> Report:
    layout = ImageMaskFolder(root, splits="folders")
    rule = LabelRule(classes)
    return inspect(layout, rule, ["train", "val"], name, train_split="train", workers=workers, console=quiet)


def test_labels_and_void_are_counted(draw: Draw, quiet: Console) -> None:
    root = draw()
    report = look(root, quiet)
    masks = [np.asarray(Image.open(path)) for path in sorted((root / "masks/train").glob("*.png"))]
    train = report.splits[0]
    assert train.pixels.tolist() == [sum(int((mask == value).sum()) for mask in masks) for value in (0, 1, 2, 255)]
    assert train.void_share == sum((mask == 255).sum() for mask in masks) / sum(mask.size for mask in masks)
    assert train.masks_with_label.tolist() == [4, 4, 4, 4] and train.masks_read == train.num_pictures == 4
    assert report.problems == report.warnings == [] and report.exit_code == 0


def test_many_processes_find_the_same_as_one(draw: Draw, quiet: Console) -> None:
    root = draw(train=40)
    (root / "masks/train/train7.png").unlink()
    one, two = (look(root, quiet, workers=workers) for workers in (1, 2))
    assert one.problems == two.problems and len(one.problems) == 1
    assert one.splits[0].pixels.tolist() == two.splits[0].pixels.tolist()


def test_every_fault_is_found_and_the_rest_is_read(draw: Draw, quiet: Console) -> None:
    root = draw(train=8)
    masks, images = root / "masks/train", root / "images/train"
    (masks / "train0.png").unlink()
    whole = (images / "train1.jpg").read_bytes()
    (images / "train1.jpg").write_bytes(whole[: len(whole) // 2])
    (masks / "train2.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((12, 10), np.uint8)).save(masks / "train3.png")
    Image.fromarray(np.full((10, 12), 7, np.uint8)).save(masks / "train4.png")
    Image.fromarray(np.zeros((10, 12, 3), np.uint8)).save(masks / "train5.png")
    report = look(root, quiet)
    train = report.splits[0]
    assert {fault: len(sentences) for fault, sentences in train.faults.items()} == {
        Fault.MISSING: 1,
        Fault.UNREADABLE: 3,
        Fault.SIZE: 1,
        Fault.LABEL: 1,
    }
    assert report.exit_code == 1 and len(report.problems) == 4
    assert train.num_pictures == 8 and train.masks_read == 4
    assert report.problems[0].startswith("train: missing files: 1; the first: ")
    assert f"train0.png: there is no such mask for {root}/images/train/train0.jpg; add it" in report.problems[0]
    assert "the mask is 10x12 pixels, its picture" in report.problems[2]
    assert "label 7 is outside 0..2" in report.problems[3]


@pytest.mark.parametrize("suffix", [".tif", ".PNG"])
def test_a_mask_of_another_suffix_is_named(draw: Draw, quiet: Console, suffix: str) -> None:
    root = draw()
    mask = root / "masks/train/train0.png"
    mask.rename(mask.with_suffix(suffix))
    assert f"there is train0{suffix}: add it or check" in look(root, quiet).problems[0]
    with pytest.raises(InputError, match=rf"there is train0\{suffix}: add it or check data\.layout\.mask_suffix"):
        ImageMaskFolder(root).split("all")


def test_masks_that_training_would_refuse_for_their_white_foreground_are_found(draw: Draw, quiet: Console) -> None:
    root = draw()
    for path in root.glob("masks/val/*.png"):
        Image.fromarray(np.where(np.asarray(Image.open(path)) > 0, 255, 0).astype(np.uint8)).save(path)
    report = look(root, quiet)
    assert report.exit_code == 1 and len(report.problems) == 1
    assert report.problems[0].startswith("val: masks with values that are no labels: 3; the first: ")
    assert "data.label_map={255: 1}" in report.problems[0]


def test_pictures_in_both_splits_are_found(draw: Draw, quiet: Console) -> None:
    root = draw()
    for folder, suffix in (("images", "jpg"), ("masks", "png")):
        shutil.copy(root / folder / f"train/train0.{suffix}", root / folder / f"val/other.{suffix}")
    report = look(root, quiet)
    assert report.problems == [
        "train and val have 1 pictures of the same content under different names, such as train/train0 and val/other."
    ]


def test_ids_in_both_lists_are_found(draw: Draw, quiet: Console) -> None:
    root = draw()
    (root / "train.txt").write_text("train/train0\ntrain/train1\n")
    (root / "val.txt").write_text("train/train1\nval/val0\n")
    layout = ImageMaskFolder(root, splits="lists")
    report = inspect(layout, LabelRule(3), ["train", "val"], "mine", train_split="train", workers=1, console=quiet)
    assert report.problems == ["train and val share 1 pictures, such as train/train1."]


def test_missing_pictures_of_a_list_do_not_stop_it(draw: Draw, quiet: Console) -> None:
    root = draw()
    (root / "train.txt").write_text("train/train0\ntrain/nothing\n")
    (root / "val.txt").write_text("val/val0\n")
    layout = ImageMaskFolder(root, splits="lists")
    report = inspect(layout, LabelRule(3), ["train", "val"], "mine", train_split="train", workers=1, console=quiet)
    assert len(report.splits[0].faults[Fault.MISSING]) == 2


def test_sizes_are_compared_with_the_published_ones(draw: Draw, quiet: Console) -> None:
    report = look(draw(), quiet, name="voc12", classes=21)
    assert [sentence.split(";")[0] for sentence in report.warnings] == [
        "train: 4 pictures, published are 1464",
        "val: 3 pictures, published are 1449",
    ]
    assert report.exit_code == 0


def test_truth_without_void_is_told(draw: Draw, quiet: Console) -> None:
    root = draw()
    for path in (root / "masks/val").glob("*.png"):
        Image.fromarray(np.asarray(Image.open(path)) % 3).save(path)
    report = look(root, quiet, name="voc12_aug", classes=21)
    assert [sentence for sentence in report.warnings if "void" in sentence] == [
        "val: 3 of 3 masks have no void, where the published truth has; for VOC that means masks of "
        "SegmentationClassAug, and scores against them are 5 to 6 points lower (kazuto1011/deeplab-pytorch, issue 72)."
    ]
    assert not [sentence for sentence in look(root, quiet).warnings if "void" in sentence]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_sets_are_those_of_conf(name: str) -> None:
    assert (Path(__file__).parents[2] / "conf" / "data" / f"{name}.yaml").is_file()


def test_the_tables_show_numbers_and_problems(draw: Draw, quiet: Console) -> None:
    root = draw()
    (root / "masks/train/train0.png").unlink()
    quiet.width = 120
    print_report(quiet, look(root, quiet), ["[red]", "b", "c"])
    text = quiet.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]" in text and "Problem: train: missing files: 1" in text and "%" in text
