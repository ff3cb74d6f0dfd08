"""PASCAL-Context's 59 classes from its 459 labels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from deeplab.data.voc import VOC
from deeplab.errors import InputError
from deeplab.preparation.context import NUMBERS
from deeplab.preparation.prepare import prepare, recipe
from deeplab.preparation.recipe import Kitchen

Make = Callable[..., Kitchen]
CONF = Path(__file__).parents[2] / "conf" / "data" / "pascal_context.yaml"


@pytest.fixture
def root(tmp_path: Path, save_mat: Callable[..., None]) -> Path:
    root = tmp_path / "VOCdevkit"
    voc = root / "VOC2010"
    (voc / "ImageSets/Main").mkdir(parents=True)
    (voc / "JPEGImages").mkdir()
    (voc / "ImageSets/Main/train.txt").write_text("2008_000001\n2008_000009\n")  # the second is not annotated
    (voc / "ImageSets/Main/val.txt").write_text("2008_000002")
    for name in ("2008_000001", "2008_000002"):
        labels = np.arange(460, dtype=np.uint16).reshape(20, 23)
        save_mat(root / f"pascal_context/trainval/{name}.mat", {"LabelMap": labels})
        Image.new("RGB", (23, 20)).save(voc / f"JPEGImages/{name}.jpg")
    write_names(root, NUMBERS)
    return root


def write_names(root: Path, numbers: dict[str, int]) -> None:
    names = {number: f"other {number}" for number in range(1, 460)} | {value: key for key, value in numbers.items()}
    text = "".join(f"{number}: {name}\n" for number, name in sorted(names.items()))
    (root / "pascal_context/labels.txt").write_text(text)


def run(kitchen: Kitchen) -> list[str]:
    return prepare(recipe("pascal_context", []), kitchen.obtain, kitchen.writer)


def test_labels_become_the_classes_of_the_data_file(root: Path, kitchen: Make) -> None:
    run(kitchen(root))
    mask = np.asarray(Image.open(root / "VOC2010/SegmentationClassContext/2008_000001.png")).ravel()
    class_names = yaml.safe_load(CONF.read_text())["class_names"]
    assert len(class_names) == 60
    for number in range(460):
        expected = next((name for name, value in NUMBERS.items() if value == number), "background")
        assert class_names[mask[number]] == expected


def test_the_split_is_vocs_as_far_as_annotated(root: Path, kitchen: Make) -> None:
    run(kitchen(root))
    layout = VOC(root, 2010, ["SegmentationClassContext"], ["ImageSets/SegmentationContext"])
    assert layout.split("train").ids == ["2008_000001"] and layout.split("val").ids == ["2008_000002"]
    assert "0 masks written, 2 were there" in run(kitchen(root))[0]
    with pytest.raises(InputError, match=r"SegmentationContext/test\.txt: there is no such list; choose one of"):
        layout.split("test")


def test_labels_of_another_order_are_refused(root: Path, kitchen: Make) -> None:
    write_names(root, {**NUMBERS, "bag": 2, "aeroplane": 9})
    with pytest.raises(InputError, match=r"labels\.txt: label 2 is 'bag' and not aeroplane"):
        run(kitchen(root))
    assert not (root / "VOC2010/SegmentationClassContext").exists()


def test_labels_beyond_459_are_refused(root: Path, kitchen: Make, save_v5: Callable[..., None]) -> None:
    save_v5(root / "pascal_context/trainval/2008_000001.mat", {"LabelMap": np.full((3, 3), 460)})
    with pytest.raises(InputError, match=r"2008_000001\.mat: its labels reach from 460 to 460"):
        run(kitchen(root))
