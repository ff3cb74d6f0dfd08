"""COCO-Stuff of both sizes."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from deeplab.data.folder import ImageMaskFolder
from deeplab.errors import InputError
from deeplab.preparation.prepare import prepare, recipe
from deeplab.preparation.recipe import Kitchen

Make = Callable[..., Kitchen]
CONF = Path(__file__).parents[2] / "conf" / "data"


def run(kitchen: Kitchen, name: str) -> list[str]:
    return prepare(recipe(name, []), kitchen.obtain, kitchen.writer)


@pytest.fixture
def root(tmp_path: Path, save_mat: Callable[..., None]) -> Path:
    labels = np.arange(183, dtype=np.uint16).reshape(3, 61)
    (tmp_path / "imageLists").mkdir()
    (tmp_path / "images").mkdir()
    for split, name in (("train", "COCO_train2014_000000000077"), ("test", "COCO_train2014_000000000078")):
        save_mat(tmp_path / f"annotations/{name}.mat", {"S": labels, "names": labels})
        (tmp_path / f"imageLists/{split}.txt").write_text(name)
        Image.new("RGB", (61, 3)).save(tmp_path / f"images/{name}.jpg")
    return tmp_path


def test_labels_begin_at_zero_and_unlabeled_is_void(root: Path, kitchen: Make) -> None:
    run(kitchen(root), "coco_stuff_10k")
    layout = ImageMaskFolder(root, image_suffix=".jpg", splits="lists", lists="imageLists")
    assert layout.split("train")[0]["label"].ravel().tolist() == [255, *range(182)]
    assert layout.split("test").ids == ["COCO_train2014_000000000078"]
    assert run(kitchen(root), "coco_stuff_10k") == ["masks: 0 masks written, 2 were there."]


def test_the_classes_are_the_owners() -> None:
    names = yaml.safe_load((CONF / "coco_stuff_10k.yaml").read_text())["class_names"]
    assert len(names) == 182 == len(set(names))
    assert names[0] == "person" and names[90] == "hair brush" and names[91] == "banner" and names[181] == "wood"
    coco = yaml.safe_load((CONF / "coco.yaml").read_text())["class_names"]
    unused = {"street sign", "hat", "shoe", "eye glasses", "plate", "mirror", "window", "desk", "door", "blender"}
    assert coco[1:] == [name for name in names[:90] if name not in unused]


def test_labels_beyond_182_are_refused(root: Path, kitchen: Make, save_v5: Callable[..., None]) -> None:
    save_v5(root / "annotations/COCO_train2014_000000000077.mat", {"S": np.full((3, 61), 183)})
    with pytest.raises(InputError, match="reach from 183 to 183"):
        run(kitchen(root), "coco_stuff_10k")


def test_the_large_set_from_its_archives(tmp_path: Path, kitchen: Make, save_png: Callable[..., None]) -> None:
    for split in ("train2017", "val2017"):
        save_png(tmp_path / f"{split}/000000000009.png", np.full((4, 5), 181), palette=False)
        Image.new("RGB", (5, 4)).save(tmp_path / f"{split}/000000000009.jpg")
    root, archives = tmp_path / "root", []
    for name, pattern in (("stuffthingmaps_trainval2017.zip", "*.png"), ("val2017.zip", "val2017/*.jpg")):
        archives.append(tmp_path / name)
        with zipfile.ZipFile(archives[-1], "w") as packed:
            for path in sorted(tmp_path.rglob(pattern)):
                packed.write(path, path.relative_to(tmp_path))
    val = archives.pop()
    run(kitchen(root, tuple(archives)), "coco_stuff_164k")
    assert (root / "annotations/train2017/000000000009.png").is_file()
    with pytest.raises(InputError, match="its checksum is not md5:442b8da7"):
        run(kitchen(root, (val,)), "coco_stuff_164k")
    (root / "images").mkdir()
    (tmp_path / "val2017").rename(root / "images/val2017")
    layout = ImageMaskFolder(root, masks="annotations", image_suffix=".jpg", splits="folders")
    assert layout.split("val2017")[0]["label"].max() == 181
