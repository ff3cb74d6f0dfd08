"""A user's own folder of pictures and masks: names, splits, and what is missing."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from deeplab.data.folder import ImageMaskFolder
from deeplab.data.reading import UInt8Array
from deeplab.errors import InputError

Save = Callable[[Path, UInt8Array], None]
Make = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path, save_picture: Save, save_mask: Save) -> Make:
    """make_folder(names, image_suffix, mask_suffix): root with images/ and masks/."""

    def make(names: Sequence[str], image_suffix: str = ".jpg", mask_suffix: str = ".png") -> Path:
        root = tmp_path / "My Data (1)"
        for number, name in enumerate(names):
            save_picture(root / "images" / f"{name}{image_suffix}", np.full((6, 8, 3), 90, dtype=np.uint8))
            save_mask(root / "masks" / f"{name}{mask_suffix}", np.full((6, 8), number % 3, dtype=np.uint8))
        return root

    return make


def test_pairs_by_relative_path(make_folder: Make) -> None:
    root = make_folder(["b", "deep/er/a", "ü, x=1"])
    pictures = ImageMaskFolder(root).split("all")
    assert pictures.ids == ["b", "deep/er/a", "ü, x=1"]
    assert [int(pictures[i]["label"][0, 0]) for i in range(3)] == [0, 1, 2]


def test_suffix_rules(make_folder: Make) -> None:
    root = make_folder(["aachen/1", "ulm/2"], "_leftImg8bit.png", "_gtFine_labelTrainIds.png")
    layout = ImageMaskFolder(root, image_suffix="_leftImg8bit.png", mask_suffix="_gtFine_labelTrainIds.png")
    assert layout.split("all").ids == ["aachen/1", "ulm/2"]


def test_pictures_and_masks_in_one_folder(make_folder: Make) -> None:
    root = make_folder(["x", "y"], ".jpg", "_mask.png")
    for path in (root / "masks").iterdir():
        path.rename(root / "images" / path.name)
    layout = ImageMaskFolder(root, masks="images", image_suffix=".jpg", mask_suffix="_mask.png")
    assert layout.split("all").ids == ["x", "y"]


def test_hidden_and_other_files_are_passed_over(make_folder: Make) -> None:
    root = make_folder(["x"])
    (root / "images" / "._x.jpg").write_bytes(b"macOS")
    (root / "images" / "notes.txt").write_text("notes")
    assert ImageMaskFolder(root).split("all").ids == ["x"]


def test_share_is_a_seeded_partition(make_folder: Make) -> None:
    names = [f"{i:02d}" for i in range(20)]
    root = make_folder(names)
    layout = ImageMaskFolder(root, val_share=0.25)
    train, val = layout.split("train").ids, layout.split("val").ids
    assert len(val) == 5 and sorted(train + val) == names
    assert ImageMaskFolder(root, val_share=0.25).split("val").ids == val
    assert ImageMaskFolder(root, val_share=0.25, split_seed=1).split("val").ids != val
    assert len(ImageMaskFolder(root, val_share=0.01).split("val")) == 1
    with pytest.raises(InputError, match="train, val and all"):
        layout.split("test")


def test_sub_folders_as_splits(make_folder: Make) -> None:
    layout = ImageMaskFolder(make_folder(["train/a", "train/b", "val/c"]), splits="folders")
    assert layout.split("train").ids == ["train/a", "train/b"]
    assert layout.split("val").ids == ["val/c"]
    with pytest.raises(InputError, match=r"choose a split of \['train', 'val'\]"):
        layout.split("test")


def test_lists_as_splits(make_folder: Make) -> None:
    root = make_folder(["a", "deep/b", "c"])
    (root / "lists").mkdir()
    (root / "lists" / "train.txt").write_text("deep/b\na.jpg\n\n")
    (root / "lists" / "val.txt").write_text("/images/c.jpg /masks/a.png")
    layout = ImageMaskFolder(root, splits="lists", lists="lists")
    assert layout.split("train").ids == ["deep/b", "a"]
    val = layout.split("val")
    assert val.masks[0].name == "a.png" and val.images[0].name == "c.jpg"
    with pytest.raises(InputError, match=r"test\.txt"):
        layout.split("test")


def test_a_list_by_path_in_any_mode(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder(["a", "b"], "_x.png", ".png")
    (tmp_path / "own.txt").write_text("b_x.png\na\n")
    assert ImageMaskFolder(root, image_suffix="_x.png").split(str(tmp_path / "own.txt")).ids == ["b", "a"]


@pytest.mark.parametrize(("line", "missing"), [("nope", "nope.jpg"), ("images/a.jpg masks/nope.png", "nope.png")])
def test_a_list_line_without_file_is_named(make_folder: Make, tmp_path: Path, line: str, missing: str) -> None:
    root = make_folder(["a"])
    (tmp_path / "own.txt").write_text(f"a\n{line}\n")
    with pytest.raises(InputError, match=rf"own\.txt, line 2.*{missing}"):
        ImageMaskFolder(root).split(str(tmp_path / "own.txt"))


def test_a_picture_without_mask_is_named(make_folder: Make) -> None:
    root = make_folder(["a", "b", "c"])
    (root / "masks" / "b.png").unlink()
    with pytest.raises(InputError, match=r"b\.png.*b\.jpg.*1 of 3"):
        ImageMaskFolder(root).split("all")


def test_two_pictures_for_one_mask_are_refused(make_folder: Make, save_picture: Save) -> None:
    root = make_folder(["a"])
    save_picture(root / "images" / "a.png", np.zeros((6, 8, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="same name"):
        ImageMaskFolder(root).split("all")


def test_folders_that_are_missing_or_empty(make_folder: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere/images.*data\.root"):
        ImageMaskFolder(tmp_path / "nowhere")
    root = make_folder(["a"])
    with pytest.raises(InputError, match=r"labels.*data\.layout\.masks"):
        ImageMaskFolder(root, masks="labels")
    with pytest.raises(InputError, match=r"no picture.*\*\.tif"):
        ImageMaskFolder(root, image_suffix=".tif").split("all")
    with pytest.raises(InputError, match="cannot be shared"):
        ImageMaskFolder(root).split("train")


@pytest.mark.parametrize("options", [{"splits": "random"}, {"val_share": 0}, {"val_share": 1.5}])
def test_options_that_cannot_be(make_folder: Make, options: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        ImageMaskFolder(make_folder(["a"]), **options)  # type: ignore[arg-type]
