"""Cityscapes' train ids from label ids and from polygons."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from deeplab.data.cityscapes_labels import IDS, LABEL_IDS, TRAIN_CLASSES, TRAIN_IDS
from deeplab.data.folder import ImageMaskFolder
from deeplab.errors import InputError
from deeplab.preparation.cityscapes import label_ids_of_polygons
from deeplab.preparation.prepare import prepare, recipe
from deeplab.preparation.recipe import Kitchen

Make = Callable[..., Kitchen]
CONF = Path(__file__).parents[2] / "conf" / "data" / "cityscapes.yaml"
NAME = "weimar_000001_000019"


def square(label: str, left: float, right: float, **more: Any) -> dict[str, Any]:
    return {"label": label, "polygon": [[left, 0], [right, 0], [right, 9], [left, 9]], **more}


def annotation(*objects: dict[str, Any], width: int = 40, height: int = 10) -> dict[str, Any]:
    return {"imgHeight": height, "imgWidth": width, "objects": list(objects)}


@pytest.fixture
def write_json(tmp_path: Path) -> Callable[..., Path]:
    def write(content: Any, name: str = NAME, split: str = "train") -> Path:
        path = tmp_path / f"gtFine/{split}/weimar/{name}_gtFine_polygons.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        return path

    return write


def run(kitchen: Kitchen) -> list[str]:
    return prepare(recipe("cityscapes", []), kitchen.obtain, kitchen.writer)


def test_label_ids_become_train_ids(tmp_path: Path, kitchen: Make, save_png: Callable[..., None]) -> None:
    ids = np.arange(34, dtype=np.uint8).reshape(2, 17)
    for split in ("train", "val"):
        save_png(tmp_path / f"gtFine/{split}/weimar/{NAME}_gtFine_labelIds.png", ids, palette=False)
        picture = tmp_path / f"leftImg8bit/{split}/weimar/{NAME}_leftImg8bit.png"
        picture.parent.mkdir(parents=True)
        Image.new("RGB", (17, 2)).save(picture)
    run(kitchen(tmp_path))
    layout = ImageMaskFolder(
        tmp_path, "leftImg8bit", "gtFine", "_leftImg8bit.png", "_gtFine_labelTrainIds.png", splits="folders"
    )
    pictures = layout.split("val")
    assert pictures.ids == [f"val/weimar/{NAME}"]
    by_id = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14}
    by_id |= {28: 15, 31: 16, 32: 17, 33: 18}
    assert pictures[0]["label"].ravel().tolist() == [by_id.get(number, 255) for number in range(34)]


def test_names_are_those_of_the_data_file() -> None:
    conf = yaml.safe_load(CONF.read_text())
    assert tuple(conf["class_names"]) == TRAIN_CLASSES and len(conf["palette"]) == 19
    assert [IDS[name] for name in TRAIN_CLASSES] == LABEL_IDS.tolist()


def test_polygons_where_there_is_no_other_file(tmp_path: Path, kitchen: Make, write_json: Callable[..., Path]) -> None:
    path = write_json(annotation(square("road", 0, 39), square("cargroup", 10, 19), square("license plate", 12, 14)))
    assert run(kitchen(tmp_path)) == ["gtFine: 1 masks written, 0 were there."]
    labels = np.asarray(Image.open(path.with_name(f"{NAME}_gtFine_labelTrainIds.png")))
    assert labels.shape == (10, 40)
    assert labels[5].tolist() == [0] * 10 + [13] * 10 + [0] * 20
    assert run(kitchen(tmp_path)) == ["gtFine: 0 masks written, 1 were there."]


def test_later_polygons_hide_earlier_ones_and_deleted_ones_are_left_out(write_json: Callable[..., Path]) -> None:
    path = write_json(annotation(square("sky", 0, 20), square("tree", 0, 5, deleted=1), square("pole", 3, 3)))
    with pytest.raises(InputError, match="the label tree is none of Cityscapes'"):
        label_ids_of_polygons(path)
    path = write_json(annotation(square("sky", 0, 20), square("terrain", 0, 5, deleted=1), square("pole", 3, 3)))
    labels = label_ids_of_polygons(path)
    assert labels[5, :25].tolist() == [23] * 3 + [17] + [23] * 17 + [0] * 4


def test_polygons_as_the_owners_tools_draw_them(write_json: Callable[..., Path]) -> None:
    tools = pytest.importorskip(
        "cityscapesscripts.preparation.json2labelImg", reason="cityscapesScripts is not installed"
    )
    from cityscapesscripts.helpers.annotation import Annotation

    rng = np.random.default_rng(0)
    names = [name for name in IDS if name not in ("unlabeled",)]
    objects = [
        {"label": names[rng.integers(len(names))], "polygon": rng.integers(-5, 90, (rng.integers(3, 9), 2)).tolist()}
        for _ in range(60)
    ]
    path = write_json(annotation(*objects, width=80, height=60))
    theirs = Annotation()
    theirs.fromJsonFile(str(path))
    for encoding, ours in (("ids", label_ids_of_polygons(path)), ("trainIds", TRAIN_IDS[label_ids_of_polygons(path)])):
        assert np.array_equal(np.array(tools.createLabelImage(theirs, encoding)), ours)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([], "imgWidth is missing"),
        ({"imgWidth": 5}, "imgHeight is missing"),
        (annotation(width=0), "which no picture has"),
        (annotation({"label": "road"}), "polygon is missing"),
        (annotation({"polygon": []}), "label is missing"),
        (annotation({"label": "road", "polygon": [[1, 2], [3]]}), "no list of points"),
        (annotation({"label": "road", "polygon": [[1, 2]]}), "needs two or more"),
        (annotation({"label": "road", "polygon": [["a", 2], [3, 4]]}), "no list of points"),
        (annotation({"label": "skyscraper", "polygon": [[1, 2], [3, 4]]}), "the label skyscraper is none"),
    ],
)
def test_other_json_is_refused(write_json: Callable[..., Path], content: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        label_ids_of_polygons(write_json(content))


def test_broken_files_are_named(
    tmp_path: Path, kitchen: Make, write_json: Callable[..., Path], save_png: Callable[..., None]
) -> None:
    write_json(annotation(), "a_000000_000001").write_text('{"imgWidth": 4')
    save_png(tmp_path / "gtFine/train/weimar/b_000000_000001_gtFine_labelIds.png", np.full((3, 3), 99), palette=False)
    write_json(annotation(square("road", 0, 9)), "c_000000_000001")
    with pytest.raises(InputError, match=r"2 of 3 masks could not be made .*no JSON that can be read"):
        run(kitchen(tmp_path))
    made = sorted(path.name for path in tmp_path.rglob("*TrainIds.png"))
    assert made == ["c_000000_000001_gtFine_labelTrainIds.png"]


def test_an_empty_tree_is_named(tmp_path: Path, kitchen: Make) -> None:
    with pytest.raises(InputError, match=r"Cityscapes' fine annotations is not there; its owners want a login"):
        run(kitchen(tmp_path))
    (tmp_path / "gtFine/train").mkdir(parents=True)
    with pytest.raises(InputError, match=r"there is no .*_labelIds.png and no .*_polygons.json"):
        run(kitchen(tmp_path))
