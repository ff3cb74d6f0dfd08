"""COCO's instances as semantic masks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools import mask as coco_mask

from deeplab.data.folder import ImageMaskFolder
from deeplab.errors import InputError
from deeplab.preparation.coco import labels, read_instances
from deeplab.preparation.prepare import prepare, recipe
from deeplab.preparation.recipe import Kitchen

Make = Callable[..., Kitchen]
NAMES = yaml.safe_load((Path(__file__).parents[2] / "conf/data/coco.yaml").read_text())["class_names"]
HEIGHT, WIDTH = 20, 30


def box(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def runs(mask: np.ndarray) -> dict[str, Any]:
    """Uncompressed run lengths, down the columns, beginning with background."""
    flat = mask.ravel(order="F").astype(int)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": counts if flat[0] == 0 else [0, *counts]}


def instance(
    number: int, picture: int, category: int, segmentation: Any, area: float, crowd: int = 0
) -> dict[str, Any]:
    return {
        "id": number, "image_id": picture, "category_id": category, "segmentation": segmentation, "area": area,
        "iscrowd": crowd,
    }  # fmt: skip


def content() -> dict[str, Any]:
    crowd = np.zeros((HEIGHT, WIDTH), bool)
    crowd[:5] = True
    small = np.zeros((HEIGHT, WIDTH), bool)
    small[8:10, 8:10] = True
    packed = coco_mask.encode(np.asfortranarray(small.astype(np.uint8)))
    return {
        "images": [
            {"id": 7, "file_name": "000000000007.jpg", "height": HEIGHT, "width": WIDTH},
            {"id": 8, "file_name": "000000000008.jpg", "height": HEIGHT, "width": WIDTH},
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}, {"id": 90, "name": "toothbrush"}],
        "annotations": [
            instance(3, 7, 90, {"size": packed["size"], "counts": packed["counts"].decode()}, 4),
            instance(1, 7, 1, box(2, 2, 20, 18), 288),
            instance(2, 7, 18, box(15, 10, 25, 15), 50),
            instance(4, 7, 1, runs(crowd), 150, crowd=1),
        ],
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split in ("train2017", "val2017"):
        (tmp_path / split).mkdir()
        for number in (7, 8):
            Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / split / f"{number:012}.jpg")
        write(tmp_path, content(), split)
    return tmp_path


def write(root: Path, made: Any, split: str = "train2017") -> Path:
    path = root / f"annotations/instances_{split}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(made))
    return path


def run(kitchen: Kitchen) -> list[str]:
    return prepare(recipe("coco", NAMES), kitchen.obtain, kitchen.writer)


def test_instances_become_classes_smaller_ones_on_top(root: Path, kitchen: Make) -> None:
    run(kitchen(root))
    layout = ImageMaskFolder(root, "", "masks", ".jpg", splits="folders")
    train = layout.split("train2017")
    assert train.ids == ["train2017/000000000007", "train2017/000000000008"]
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:5] = 255
    expected[2:18, 2:20] = NAMES.index("person")
    expected[10:15, 15:25] = NAMES.index("dog")
    expected[8:10, 8:10] = NAMES.index("toothbrush")
    assert np.array_equal(train[0]["label"], expected)
    assert not train[1]["label"].any()  # a picture without instances is background
    assert "0 masks written, 2 were there" in run(kitchen(root))[0]


def test_the_classes_are_cocos() -> None:
    assert len(NAMES) == 81 and NAMES[1] == "person" and NAMES[12] == "stop sign" and NAMES[80] == "toothbrush"


def change(key: str, index: int, **values: Any) -> Callable[[dict[str, Any]], None]:
    def apply(made: dict[str, Any]) -> None:
        made[key][index].update(values)

    return apply


def drop(key: str, inner: str) -> Callable[[dict[str, Any]], None]:
    def apply(made: dict[str, Any]) -> None:
        del made[key][0][inner]

    return apply


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (change("images", 1, id=7), "two pictures are called 000000000008 or have the id 7"),
        (change("images", 1, file_name="000000000007.jpg"), "two pictures are called 000000000007"),
        (change("images", 0, file_name="../../x.jpg"), "no plain name"),
        (change("images", 0, height=0), "which no picture has"),
        (change("images", 0, height="20"), "height is missing or no int"),
        (change("annotations", 1, id=3), "two annotations have the id 3"),
        (change("annotations", 0, image_id=99), "annotation 3 belongs to picture 99"),
        (change("annotations", 0, category_id=99), "annotation 3 belongs to category 99"),
        (change("categories", 0, name="dragon"), "the category dragon is none of the 80 classes"),
        (drop("annotations", "category_id"), "category_id is missing"),
        (drop("categories", "id"), "id is missing"),
        (lambda made: made.pop("annotations"), "annotations is missing"),
    ],
)
def test_other_files_are_refused_before_any_work(
    root: Path, kitchen: Make, spoil: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    made = content()
    spoil(made)
    write(root, made)
    with pytest.raises(InputError, match=sentence):
        run(kitchen(root))
    assert not (root / "masks").exists()
    write(root, content())
    run(kitchen(root))


@pytest.mark.parametrize(
    ("segmentation", "sentence"),
    [
        (None, "no polygons"),
        ([], "no polygons"),
        ([[1, 2, 3, 4]], "no polygons"),
        ([[1, 2, 3, 4, 5]], "no polygons"),
        ([["a"] * 6], "no polygons"),
        ([[1e9] * 6], "no polygons"),
        ({"size": [1, 1], "counts": [1]}, "does not fit"),
        ({"size": [HEIGHT, WIDTH], "counts": [5]}, "do not add up"),
        ({"size": [HEIGHT, WIDTH], "counts": [-5, 605]}, "do not add up"),
        ({"size": [HEIGHT, WIDTH]}, "does not fit"),
    ],
)
def test_shapes_that_are_none_are_refused(segmentation: Any, sentence: str) -> None:
    picture = {
        "height": HEIGHT,
        "width": WIDTH,
        "source": "x.json, 1.jpg",
        "instances": [(1, False, 1.0, segmentation)],
    }
    with pytest.raises(InputError, match=sentence):
        labels(picture)


def test_a_file_that_breaks_off_is_named(root: Path) -> None:
    path = root / "annotations/instances_train2017.json"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"instances_train2017\.json: this is no JSON"):
        read_instances(path, NAMES)


@pytest.mark.parametrize("name", ["a" * 300 + ".jpg", "\ud800.jpg", "a\0.jpg", "../a.jpg", "a\n.jpg"])
def test_names_that_no_file_can_have_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "instances_val2017.json"
    path.write_text(json.dumps({**content(), "images": [{"id": 7, "file_name": name, "height": 3, "width": 3}]}))
    with pytest.raises(InputError, match="is no plain name of a picture") as caught:
        read_instances(path, NAMES)
    assert len(str(caught.value)) < 1000 and str(caught.value).isprintable()


def test_brackets_without_end_and_endless_pictures_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "instances_val2017.json"
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match="this is no JSON that can be read"):
        read_instances(path, NAMES)
    picture = {"id": 7, "file_name": "7.jpg", "height": 65_000, "width": 65_000}
    path.write_text(json.dumps({**content(), "images": [picture]}))
    with pytest.raises(InputError, match="65000x65000 pixels, which no picture has"):
        read_instances(path, NAMES)
