"""The devkit's layout: lists in both forms, masks with and without void, files that are missing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab.data.reading import UInt8Array
from deeplab.data.voc import VOC
from deeplab.errors import InputError

MakeVOC = Callable[..., Path]


def test_splits_and_samples(make_voc: MakeVOC) -> None:
    root = make_voc()
    layout = VOC(root)
    assert {name: layout.split(name).ids for name in ("train", "val", "trainval", "train_aug")} == {
        "train": ["a", "b", "c"],
        "val": ["v"],
        "trainval": ["a", "b", "c", "v"],
        "train_aug": ["a", "b", "c", "s"],
    }
    train = layout.split("train")
    sample = train[1]
    assert len(train) == 3 and sample["id"] == "b"
    assert sample["image"].shape == (21, 30, 3) and sample["image"].dtype == np.uint8
    expected = np.asarray(Image.open(root / "VOC2012/SegmentationClass/b.png"))
    assert np.array_equal(sample["label"], expected) and sample["label"].dtype == np.uint8
    assert train.label_source(1) == str(root / "VOC2012/SegmentationClass/b.png")


def test_masks_come_from_the_first_folder_that_has_them(make_voc: MakeVOC) -> None:
    root = make_voc()
    by_default = VOC(root).split("train_aug")
    assert [path.parent.name for path in by_default.masks] == ["SegmentationClass"] * 3 + ["SegmentationClassAug"]
    assert 255 in by_default[0]["label"]
    aug_first = VOC(root, masks=["SegmentationClassAug"]).split("train_aug")
    assert {path.parent.name for path in aug_first.masks} == {"SegmentationClassAug"}
    with pytest.raises(InputError, match=r"train_aug\.txt, line 4.*SegmentationClass/s\.png"):
        VOC(root, masks=["SegmentationClass"]).split("train_aug")


def test_a_list_of_pairs_is_taken_as_written(make_voc: MakeVOC, tmp_path: Path) -> None:
    root = make_voc()
    own = tmp_path / "own list.txt"
    own.write_text("/JPEGImages/c.jpg /SegmentationClassAug/c.png\n/JPEGImages/a.jpg /SegmentationClass/a.png")
    pictures = VOC(root).split(str(own))
    assert pictures.ids == ["c", "a"]
    assert [path.parent.name for path in pictures.masks] == ["SegmentationClassAug", "SegmentationClass"]


def test_a_list_of_ids_of_the_users_own(make_voc: MakeVOC, tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text("v\na.jpg\n")
    assert VOC(make_voc()).split(str(tmp_path / "two.txt")).ids == ["v", "a"]


def test_another_year(make_voc: MakeVOC) -> None:
    root = make_voc()
    (root / "VOC2012").rename(root / "VOC2010")
    assert VOC(root, year=2010).split("val").ids == ["v"]


def test_a_missing_root_or_list_is_named(make_voc: MakeVOC, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.*data\.root"):
        VOC(tmp_path / "nowhere")
    root = make_voc()
    with pytest.raises(InputError, match=r"data\.root"):
        VOC(root / "VOC2012")
    with pytest.raises(InputError, match=r"test\.txt.*choose one of \['train', 'train_aug', 'trainval', 'val'\]"):
        VOC(root).split("test")
    with pytest.raises(InputError, match=r"nowhere\.txt"):
        VOC(root).split(str(tmp_path / "nowhere.txt"))


@pytest.mark.parametrize("missing", ["JPEGImages/b.jpg", "SegmentationClass/b.png"])
def test_a_list_line_without_file_is_named(make_voc: MakeVOC, missing: str) -> None:
    root = make_voc()
    (root / "VOC2012" / missing).unlink()
    with pytest.raises(InputError, match=rf"train\.txt, line 2.*{missing}"):
        VOC(root, masks=["SegmentationClass"]).split("train")


def test_a_pair_of_different_sizes_is_named(make_voc: MakeVOC, save_mask: Callable[[Path, UInt8Array], None]) -> None:
    root = make_voc()
    save_mask(root / "VOC2012/SegmentationClass/a.png", np.zeros((30, 20), dtype=np.uint8))
    with pytest.raises(InputError, match=r"a\.png: the mask is 20x30 pixels.*a\.jpg is 30x20"):
        VOC(root).split("train")[0]


def test_two_pictures_of_one_id_are_refused(make_voc: MakeVOC, tmp_path: Path) -> None:
    (tmp_path / "twice.txt").write_text(
        "/JPEGImages/a.jpg /SegmentationClass/a.png\n/SegmentationClass/a.png /SegmentationClass/a.png\n"
    )
    with pytest.raises(InputError, match="a: two pictures"):
        VOC(make_voc()).split(str(tmp_path / "twice.txt"))
