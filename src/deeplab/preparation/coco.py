"""COCO: 80 classes and background from the instances' polygons and run lengths."""

from pathlib import Path, PurePosixPath
from types import UnionType
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from deeplab.errors import InputError
from deeplab.preparation.json_files import check_size, is_file_name, read_json
from deeplab.preparation.masks import Labels, MaskJob
from deeplab.preparation.originals import COCO_INSTANCES, COCO_TRAIN, COCO_VAL
from deeplab.preparation.recipe import Kitchen

ORIGINALS = (COCO_TRAIN, COCO_VAL, COCO_INSTANCES)

_VOID = 255

Picture = dict[str, Any]
"""`height`, `width`, `source`, and `instances`: (label, crowd, area, segmentation) each."""


def prepare_coco(kitchen: Kitchen, class_names: list[str]) -> list[str]:
    """Make masks/train2017 and masks/val2017 of annotations/instances_*.json."""
    for pictures in (COCO_TRAIN, COCO_VAL):
        kitchen.obtain(pictures)
    folder = kitchen.need(COCO_INSTANCES).parent
    done = []
    for split in ("train2017", "val2017"):
        path = folder / f"instances_{split}.json"
        if path.is_file():
            masks = kitchen.root / "masks" / split
            jobs = [
                MaskJob(masks / f"{name}.png", picture) for name, picture in read_instances(path, class_names).items()
            ]
            done.append(kitchen.writer.write(labels, jobs, f"masks/{split}"))
    return done


def read_instances(path: Path, class_names: list[str]) -> dict[str, Picture]:
    """Read an instances file: every picture by its name without suffix, those without instances included.

    A category's label is its place in `class_names`, of which the first is background.

    Raises InputError for a file that is damaged, lacks keys, names a picture or an instance twice, or has categories or
    pictures that are not its own.
    """
    content = read_json(path)
    known = {name: label for label, name in enumerate(class_names) if label}
    categories: dict[int, int] = {}
    for each in _value(content, "categories", list, path):
        name = _value(each, "name", str, path)
        if name not in known:
            raise InputError(
                f"{path}: the category {name} is none of the {len(known)} classes of the data; get the owners' file."
            )
        categories[_value(each, "id", int, path)] = known[name]
    pictures, names = _pictures(content, path)
    seen: set[int] = set()
    for each in _value(content, "annotations", list, path):
        number = _value(each, "id", int, path)
        if number in seen:
            raise InputError(f"{path}: two annotations have the id {number}; leave one of them.")
        seen.add(number)
        picture, category = _value(each, "image_id", int, path), _value(each, "category_id", int, path)
        if picture not in pictures or category not in categories:
            what = f"picture {picture}" if picture not in pictures else f"category {category}"
            raise InputError(
                f"{path}: annotation {number} belongs to {what}, which the file does not have; get the owners' file."
            )
        instance = (
            categories[category],
            bool(each.get("iscrowd")),
            _value(each, "area", int | float, path),
            each.get("segmentation"),
        )
        pictures[picture]["instances"].append(instance)
    return {names[number]: picture for number, picture in pictures.items()}


def labels(picture: Picture) -> Labels:
    """Draw the instances of a picture: the larger first, so that smaller ones are seen; crowds are void below them.

    Which of two overlapping instances is seen, and that crowds are void, is our choice: the authors' is not known.
    """
    canvas = np.zeros((picture["height"], picture["width"]), dtype=np.uint8)
    crowds = [each for each in picture["instances"] if each[1]]
    things = sorted((each for each in picture["instances"] if not each[1]), key=lambda each: each[2], reverse=True)
    for label, crowd, _, segmentation in [*crowds, *things]:
        canvas[_shape(segmentation, picture)] = _VOID if crowd else label
    return canvas


def _shape(segmentation: Any, picture: Picture) -> Any:
    """Return an instance as bool (H, W)."""
    height, width = canvas = (picture["height"], picture["width"])
    if isinstance(segmentation, dict):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        if size != [height, width] or not isinstance(counts, list | str):
            raise InputError(
                f"{picture['source']}: a run-length mask of size {size} does not fit a picture of {canvas}."
            )
        if isinstance(counts, str):
            encoded = {"size": size, "counts": counts.encode("ascii", "replace")}
        elif all(isinstance(run, int) and run >= 0 for run in counts) and sum(counts) == height * width:
            encoded = coco_mask.frPyObjects(segmentation, height, width)
        else:
            raise InputError(f"{picture['source']}: the runs of a mask do not add up to {height}x{width} pixels.")
    else:
        encoded = coco_mask.merge(coco_mask.frPyObjects(_polygons(segmentation, picture), height, width))
    return coco_mask.decode(encoded).astype(bool)


def _polygons(segmentation: Any, picture: Picture) -> list[list[float]]:
    limit = 2 * max(picture["height"], picture["width"])
    polygons = segmentation if isinstance(segmentation, list) else []
    for polygon in polygons:
        good = isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0
        if not good or not all(isinstance(each, int | float) and -limit <= each <= limit for each in polygon):
            polygons = []
            break
    if not polygons:
        raise InputError(
            f"{picture['source']}: an instance has no polygons [x1, y1, x2, y2, x3, y3, ...] in the picture."
        )
    return polygons


def _pictures(content: Any, path: Path) -> tuple[dict[int, Picture], dict[int, str]]:
    pictures: dict[int, Picture] = {}
    names: dict[int, str] = {}
    stems: set[str] = set()
    for each in _value(content, "images", list, path):
        number, file_name = _value(each, "id", int, path), _value(each, "file_name", str, path)
        height, width = _value(each, "height", int, path), _value(each, "width", int, path)
        name = PurePosixPath(file_name)
        if len(name.parts) != 1 or name.is_absolute() or name.stem.startswith(".") or not is_file_name(file_name):
            raise InputError(f"{path}: {file_name[:80]!r} is no plain name of a picture; get the owners' file.")
        check_size(width, height, f"{path}, {file_name}")
        if number in pictures or name.stem in stems:
            raise InputError(f"{path}: two pictures are called {name.stem} or have the id {number}; leave one of them.")
        pictures[number] = {"height": height, "width": width, "source": f"{path}, {file_name}", "instances": []}
        names[number] = name.stem
        stems.add(name.stem)
    return pictures, names


def _value(node: Any, key: str, kind: type | UnionType, path: Path) -> Any:
    if not isinstance(node, dict) or not isinstance(node.get(key), kind) or isinstance(node[key], bool):
        raise InputError(f"{path}: {key} is missing or no {getattr(kind, '__name__', kind)}; get the owners' file.")
    return node[key]
