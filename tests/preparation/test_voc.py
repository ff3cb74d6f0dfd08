"""SegmentationClassAug from SBD's files and VOC's masks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deeplab.data.voc import VOC
from deeplab.errors import InputError
from deeplab.preparation.prepare import prepare, recipe
from deeplab.preparation.recipe import Kitchen

Make = Callable[..., Kitchen]
IDS = {"train": ["2007_000001"], "val": ["2007_000002", "2007_000003"]}


def draw(seed: int, void: bool = False) -> np.ndarray:
    labels = np.random.default_rng(seed).integers(0, 21, (9, 12), dtype=np.uint8)
    labels[0] = 255 if void else 0
    return labels


@pytest.fixture
def root(tmp_path: Path, save_mat: Callable[..., None], save_png: Callable[..., None]) -> Path:
    """VOC's train and val; SBD has one picture of each and two of its own."""
    root = tmp_path / "VOCdevkit"
    voc = root / "VOC2012"
    (voc / "ImageSets/Segmentation").mkdir(parents=True)
    (voc / "JPEGImages").mkdir()
    for split, ids in IDS.items():
        (voc / f"ImageSets/Segmentation/{split}.txt").write_text("\n".join(ids))
        for name in ids:
            save_png(voc / f"SegmentationClass/{name}.png", draw(int(name[-1]), void=True))
    for name in ("2007_000001", "2007_000003", "2008_000004", "2008_000005"):
        save_mat(root / f"benchmark_RELEASE/dataset/cls/{name}.mat", {"GTcls": {"Segmentation": draw(int(name[-1]))}})
    for path in [name for ids in IDS.values() for name in ids] + ["2008_000004", "2008_000005"]:
        Image.new("RGB", (12, 9)).save(voc / f"JPEGImages/{path}.jpg")
    return root


def run(kitchen: Kitchen) -> list[str]:
    return prepare(recipe("voc12_aug", []), kitchen.obtain, kitchen.writer)


def masks(root: Path) -> dict[str, np.ndarray]:
    folder = root / "VOC2012/SegmentationClassAug"
    return {path.stem: np.asarray(Image.open(path)) for path in folder.glob("*.png")}


def test_vocs_masks_take_the_place_of_sbds(root: Path, kitchen: Make) -> None:
    run(kitchen(root))
    made = masks(root)
    assert sorted(made) == ["2007_000001", "2007_000002", "2007_000003", "2008_000004", "2008_000005"]
    for name, labels in made.items():
        assert np.array_equal(labels, draw(int(name[-1]), void=name.startswith("2007")))
    assert Image.open(root / "VOC2012/SegmentationClassAug/2008_000004.png").mode == "P"
    layout = VOC(root)
    assert layout.split("train_aug").ids == ["2007_000001", "2008_000004", "2008_000005"]
    assert layout.split("trainval_aug").ids == sorted(made)


def test_a_second_run_does_nothing(root: Path, kitchen: Make) -> None:
    run(kitchen(root))
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert run(kitchen(root)) == ["SegmentationClassAug is complete."]
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def test_what_is_missing_is_made_and_nothing_else(root: Path, kitchen: Make) -> None:
    run(kitchen(root))
    folder = root / "VOC2012/SegmentationClassAug"
    (folder / "2008_000004.png").unlink()
    kept = (folder / "2008_000005.png").stat().st_mtime_ns
    assert "SegmentationClassAug: 1 masks written, 4 were there." in run(kitchen(root))
    assert (folder / "2008_000005.png").stat().st_mtime_ns == kept


def test_a_ready_made_copy_needs_no_sbd(root: Path, kitchen: Make) -> None:
    run(kitchen(root))
    (root / "benchmark_RELEASE").rename(root / "elsewhere")
    assert run(kitchen(root)) == ["SegmentationClassAug is complete."]


def test_a_bad_annotation_is_named_the_others_are_made_and_a_second_run_repairs(
    root: Path, kitchen: Make, save_v5: Callable[..., None]
) -> None:
    bad = root / "benchmark_RELEASE/dataset/cls/2008_000004.mat"
    whole = bad.read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"1 of 5 masks could not be made .*2008_000004\.mat") as caught:
        run(kitchen(root))
    assert "\n" not in str(caught.value)
    assert sorted(masks(root)) == ["2007_000001", "2007_000002", "2007_000003", "2008_000005"]
    bad.write_bytes(whole)
    run(kitchen(root))
    assert len(masks(root)) == 5


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"GTinst": {"Segmentation": draw(1)}}, "the variable GTcls is not in this file"),
        ({"GTcls": {"Boundaries": draw(1)}}, "the field Segmentation is missing"),
        ({"GTcls": {"Segmentation": draw(1) + np.uint8(30)}}, "reach from 30 to 50"),
        ({"GTcls": {"Segmentation": np.zeros((3, 4, 2))}}, "no picture of numbers"),
    ],
)
def test_files_of_another_kind_are_refused(
    root: Path, kitchen: Make, save_v5: Callable[..., None], variables: dict[str, Any], sentence: str
) -> None:
    save_v5(root / "benchmark_RELEASE/dataset/cls/2008_000004.mat", variables)
    with pytest.raises(InputError, match=sentence):
        run(kitchen(root))
    assert "2008_000004" not in masks(root)


def test_a_voc_mask_with_another_label_is_refused(root: Path, kitchen: Make, save_png: Callable[..., None]) -> None:
    save_png(root / "VOC2012/SegmentationClass/2007_000002.png", np.full((9, 12), 99))
    with pytest.raises(InputError, match="label 99 is none of VOC's"):
        run(kitchen(root))


def test_missing_parts_are_named(root: Path, kitchen: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"PASCAL VOC 2012 is not there; it is offered at http"):
        run(kitchen(tmp_path / "empty"))
    (root / "benchmark_RELEASE").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="the Semantic Boundaries Dataset is not there"):
        run(kitchen(root))


def test_voc_itself_needs_nothing(root: Path, kitchen: Make) -> None:
    here = kitchen(root)
    assert prepare(recipe("voc12", []), here.obtain, here.writer) == ["PASCAL VOC 2012 needs no preparation."]


def test_an_unknown_set_is_refused() -> None:
    with pytest.raises(InputError, match=r"data=scenes: there is nothing to prepare; .*voc12_aug"):
        recipe("scenes", [])
