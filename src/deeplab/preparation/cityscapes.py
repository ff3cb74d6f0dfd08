"""Cityscapes: train ids from label ids, or from the polygons where those are all there is."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from deeplab.data.cityscapes_labels import IDS, TRAIN_IDS
from deeplab.data.reading import read_mask
from deeplab.errors import InputError
from deeplab.preparation.json_files import check_size, read_json
from deeplab.preparation.masks import Labels, MaskJob
from deeplab.preparation.originals import CITYSCAPES_LABELS, CITYSCAPES_PICTURES
from deeplab.preparation.recipe import Kitchen

ORIGINALS = (CITYSCAPES_PICTURES, CITYSCAPES_LABELS)

_LARGEST_ID = 33


def prepare_cityscapes(kitchen: Kitchen) -> list[str]:
    """Make *_labelTrainIds.png beside *_labelIds.png, or beside *_polygons.json, in gtFine and gtCoarse."""
    kitchen.obtain(CITYSCAPES_PICTURES)
    kitchen.need(CITYSCAPES_LABELS)
    done = []
    for kind in ("gtFine", "gtCoarse"):
        folder = kitchen.root / kind
        if kind == "gtFine" or folder.is_dir():
            done.append(kitchen.writer.write(labels, _jobs(folder, kind), kind))
    return done


def _jobs(folder: Path, kind: str) -> list[MaskJob]:
    sources: dict[str, Path] = {}
    for suffix in (f"_{kind}_polygons.json", f"_{kind}_labelIds.png"):  # the second takes the first one's place
        for path in folder.rglob(f"*{suffix}"):
            if not path.name.startswith("."):
                sources[str(path.with_name(path.name.removesuffix(suffix)))] = path
    if not sources:
        raise InputError(f"{folder}: there is no *_{kind}_labelIds.png and no *_{kind}_polygons.json in it.")
    return [MaskJob(Path(f"{name}_{kind}_labelTrainIds.png"), sources[name]) for name in sorted(sources)]


def labels(path: Path) -> Labels:
    """Read one annotation as train ids, void 255."""
    if path.suffix == ".json":
        return TRAIN_IDS[label_ids_of_polygons(path)]
    ids = read_mask(path)
    if ids.max() > _LARGEST_ID:
        raise InputError(f"{path}: label id {ids.max()} is none of Cityscapes', which are 0 to {_LARGEST_ID}.")
    return TRAIN_IDS[ids]


def label_ids_of_polygons(path: Path) -> Labels:
    """Draw the polygons of an annotation in their order, label ids uint8 (H, W).

    As the owners' tools do it: what is deleted is left out, as are license plates, which have no id, and a group of a
    class (`cargroup`) counts as the class. Raises InputError for a file that is damaged or of another kind.
    """
    content = read_json(path)
    width, height = _value(content, "imgWidth", int, path), _value(content, "imgHeight", int, path)
    check_size(width, height, str(path))
    picture = Image.new("L", (width, height), 0)
    pen = ImageDraw.Draw(picture)
    for thing in _value(content, "objects", list, path):
        number = _id(_value(thing, "label", str, path), path)
        if number is not None and not thing.get("deleted"):
            pen.polygon(_corners(_value(thing, "polygon", list, path), path), fill=number)
    return np.array(picture)


def _id(name: str, path: Path) -> int | None:
    single = name.removesuffix("group") if name not in IDS else name
    if single not in IDS:
        raise InputError(f"{path}: the label {name} is none of Cityscapes'.")
    return IDS[single]


def _corners(points: list[Any], path: Path) -> list[tuple[float, float]]:
    try:
        corners = [(float(x), float(y)) for x, y in points]
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: a polygon is no list of points [x, y].") from error
    if len(corners) < 2 or not np.isfinite(corners).all():
        raise InputError(f"{path}: a polygon has {len(corners)} corners; it needs two or more, of finite numbers.")
    return corners


def _value(node: Any, key: str, kind: type, path: Path) -> Any:
    if not isinstance(node, dict) or not isinstance(node.get(key), kind):
        raise InputError(f"{path}: {key} is missing or no {kind.__name__}; this is no annotation of Cityscapes.")
    return node[key]
