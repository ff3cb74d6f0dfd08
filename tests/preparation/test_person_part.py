"""Six parts of persons, from PASCAL-Part's files or the owners' pack."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deeplab.data.folder import ImageMaskFolder
from deeplab.errors import InputError
from deeplab.preparation.person_part import LABELS, labels_of_pack
from deeplab.preparation.prepare import prepare, recipe
from deeplab.preparation.recipe import Kitchen

Make = Callable[..., Kitchen]
SAMPLES = Path(os.environ.get("DEEPLAB_REAL_DATA", "nowhere")) / "person_part_samples"


def box(*rows: int) -> np.ndarray:
    mask = np.zeros((10, 8), dtype=np.uint8)
    mask[rows[0] : rows[1]] = 1
    return mask


def array(*structs: dict[str, Any]) -> np.ndarray:
    """A 1xN array of structs, as savemat writes it."""
    made = np.zeros((1, len(structs)), dtype=[(key, object) for key in structs[0]])
    for column, each in enumerate(structs):
        for key, value in each.items():
            made[0, column][key] = value
    return made


def person(**parts: np.ndarray) -> dict[str, Any]:
    made = array(*({"part_name": name, "mask": mask} for name, mask in parts.items())) if parts else np.zeros((0, 0))
    return {"class": "person", "class_ind": 15.0, "mask": box(0, 10), "parts": made}


def anno(*objects: dict[str, Any]) -> dict[str, Any]:
    return {"anno": {"imname": "x", "objects": array(*objects)}}


DOG = {"class": "dog", "class_ind": 12.0, "mask": box(0, 1), "parts": array({"part_name": "tail", "mask": box(0, 1)})}
ANNOTATIONS = {
    "2008_000001": anno(person(head=box(0, 2), torso=box(1, 4), lhand=box(5, 6), rfoot=box(9, 10)), DOG),
    "2008_000002": anno(DOG, person(luleg=box(6, 8)), person(hair=box(0, 1), rlarm=box(2, 3))),
    "2008_000003": anno(DOG),
    "2008_000004": anno(person()),
}


@pytest.fixture
def voc2010(tmp_path: Path) -> Path:
    root = tmp_path / "person"
    (root / "VOC2010/ImageSets/Main").mkdir(parents=True)
    (root / "VOC2010/ImageSets/Main/train.txt").write_text("2008_000001\n2008_000003\n")
    (root / "VOC2010/ImageSets/Main/val.txt").write_text("2008_000002\n2008_000004\n")
    (root / "VOC2010/JPEGImages").mkdir()
    for name in ANNOTATIONS:
        Image.new("RGB", (8, 10)).save(root / f"VOC2010/JPEGImages/{name}.jpg")
    return root


@pytest.fixture
def root(voc2010: Path, save_v5: Callable[..., None]) -> Path:
    for name, annotation in ANNOTATIONS.items():
        save_v5(voc2010 / f"Annotations_Part/{name}.mat", annotation)
    return voc2010


def run(kitchen: Kitchen) -> list[str]:
    return prepare(recipe("person_part", []), kitchen.obtain, kitchen.writer)


def layout(root: Path) -> ImageMaskFolder:
    return ImageMaskFolder(root, "JPEGImages", "SegmentationPart", ".jpg", splits="lists", lists="list")


def test_parts_of_persons_alone_are_labelled(root: Path, kitchen: Make) -> None:
    run(kitchen(root))
    first = np.asarray(Image.open(root / "SegmentationPart/2008_000001.png"))
    assert first[:, 0].tolist() == [1, 2, 2, 2, 0, 4, 0, 0, 0, 6]
    second = np.asarray(Image.open(root / "SegmentationPart/2008_000002.png"))
    assert second[:, 0].tolist() == [1, 0, 4, 0, 0, 0, 5, 5, 0, 0]


def test_pictures_without_a_person_are_left_out(root: Path, kitchen: Make) -> None:
    run(kitchen(root))
    assert layout(root).split("train_id").ids == ["2008_000001"]
    assert layout(root).split("val_id").ids == ["2008_000002"]
    assert sorted(path.name for path in (root / "JPEGImages").iterdir()) == ["2008_000001.jpg", "2008_000002.jpg"]


def test_a_second_run_does_nothing(root: Path, kitchen: Make) -> None:
    run(kitchen(root))
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    run(kitchen(root))
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def test_version_7_3_gives_the_same(
    voc2010: Path, kitchen: Make, saver_v73: Callable[..., None], tmp_path: Path
) -> None:
    def flat(struct: dict[str, Any]) -> dict[str, Any]:
        return {key: parts(value) if key == "parts" else value for key, value in struct.items()}

    def parts(value: np.ndarray) -> np.ndarray:
        made = np.empty(value.size, dtype=object)
        made[:] = [{key: each[key] for key in ("part_name", "mask")} for each in value.ravel()]
        return made

    objects = np.empty(2, dtype=object)
    objects[:] = [flat(DOG), flat(person(head=box(0, 2), ruarm=box(3, 4)))]
    saver_v73(voc2010 / "Annotations_Part/2008_000001.mat", {"anno": {"imname": "x", "objects": objects}})
    run(kitchen(voc2010))
    mask = np.asarray(Image.open(voc2010 / "SegmentationPart/2008_000001.png"))
    assert mask[:, 0].tolist() == [1, 1, 0, 3, 0, 0, 0, 0, 0, 0] and mask.shape == (10, 8)


@pytest.mark.parametrize(
    ("annotation", "sentence"),
    [
        (anno(person(wing=box(0, 1))), "the part wing is none of a person's"),
        (anno(person(head=box(0, 1), torso=np.zeros((3, 3), np.uint8))), "different sizes"),
        ({"anno": {"imname": "x"}}, "the field objects is missing"),
        ({"other": np.zeros((2, 2))}, "the variable anno is not in this file"),
    ],
)
def test_other_annotations_are_refused(
    root: Path, kitchen: Make, save_v5: Callable[..., None], annotation: dict[str, Any], sentence: str
) -> None:
    save_v5(root / "Annotations_Part/2008_000001.mat", annotation)
    with pytest.raises(InputError, match=sentence):
        run(kitchen(root))
    assert not (root / "SegmentationPart/2008_000001.png").exists()


def test_the_pack_of_the_owners(voc2010: Path, kitchen: Make, save_png: Callable[..., None]) -> None:
    pack = voc2010 / "pascal_person_part"
    for name in ("2008_000001", "2008_000002"):
        save_png(pack / f"pascal_person_part_gt/{name}.png", np.full((10, 8), int(name[-1])))
    (pack / "pascal_person_part_trainval_list").mkdir()
    lists = pack / "pascal_person_part_trainval_list"
    (lists / "train.txt").write_text("/JPEGImages/2008_000002.jpg /SegmentationPart/2008_000002.png")
    (lists / "val_id.txt").write_text("2008_000001")
    run(kitchen(voc2010))
    assert layout(voc2010).split("train_id").ids == ["2008_000002"]
    assert layout(voc2010).split("val_id")[0]["label"].max() == 1
    before = {path: path.stat().st_mtime_ns for path in voc2010.rglob("*") if path.is_file()}
    run(kitchen(voc2010))
    assert before == {path: path.stat().st_mtime_ns for path in voc2010.rglob("*") if path.is_file()}


def test_a_mask_of_the_pack_with_another_label(tmp_path: Path, save_png: Callable[..., None]) -> None:
    save_png(tmp_path / "a.png", np.full((3, 3), 7))
    with pytest.raises(InputError, match="label 7 is none of Person-Part's"):
        labels_of_pack(tmp_path / "a.png")


def test_the_table_covers_all_parts_of_a_person() -> None:
    sides = {
        f"{side}{part}"
        for side in "lr"
        for part in ("ear", "ebrow", "eye", "uarm", "larm", "hand", "uleg", "lleg", "foot")
    }
    assert set(LABELS) == sides | {"head", "hair", "nose", "mouth", "torso", "neck"}


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="DEEPLAB_REAL_DATA does not lead to the real samples")
def test_real_masks_of_the_pack_are_taken_as_they_are(kitchen: Make, tmp_path: Path) -> None:
    names = [path.stem for path in sorted((SAMPLES / "masks").glob("*.png"))]
    (tmp_path / "pascal_person_part").mkdir()
    (tmp_path / "pascal_person_part/pascal_person_part_gt").symlink_to(SAMPLES / "masks")
    (tmp_path / "JPEGImages").symlink_to(SAMPLES / "images")
    (tmp_path / "list").mkdir()
    for split in ("train_id", "val_id"):
        (tmp_path / "list" / f"{split}.txt").write_text("\n".join(names))
    run(kitchen(tmp_path))
    for index, name in enumerate(names):
        sample = layout(tmp_path).split("val_id")[index]
        assert np.array_equal(sample["label"], np.asarray(Image.open(SAMPLES / f"masks/{name}.png")))
        assert set(np.unique(sample["label"])) <= set(range(7))
