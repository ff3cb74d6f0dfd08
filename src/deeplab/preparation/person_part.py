"""PASCAL-Person-Part: six parts and background, from the owners' ready masks or from PASCAL-Part's .mat files."""

from pathlib import Path
from typing import Any

import numpy as np

from deeplab.data.reading import read_mask
from deeplab.errors import InputError
from deeplab.preparation.masks import Labels, MaskJob
from deeplab.preparation.mat_files import field, items, label_map, read_mat
from deeplab.preparation.originals import PASCAL_PART, PERSON_PART, VOC2010
from deeplab.preparation.recipe import Kitchen, files, link_pictures, read_ids, write_list

ORIGINALS = (PERSON_PART, PASCAL_PART, VOC2010)

# facebookresearch/astmt, fblib/dataloaders/pascal_context.py: its table of six parts.
_PARTS = {
    1: ("head", "hair", "lear", "rear", "lebrow", "rebrow", "leye", "reye", "nose", "mouth"),
    2: ("torso", "neck"),
    3: ("luarm", "ruarm"),
    4: ("llarm", "rlarm", "lhand", "rhand"),
    5: ("luleg", "ruleg"),
    6: ("llleg", "rlleg", "lfoot", "rfoot"),
}
LABELS = {part: label for label, parts in _PARTS.items() for part in parts}


def prepare_person_part(kitchen: Kitchen) -> list[str]:
    """Make SegmentationPart, JPEGImages and the lists train_id and val_id.

    From `Annotations_Part/*.mat` where that folder or its archive is there, else from the owners' pack of masks. The
    pictures are VOC 2010's. Without lists of the owners, the split is VOC 2010's: that this gives the published 1716
    and 1817 pictures is not established; `deeplab data check` compares.
    """
    root, overwrite = kitchen.root, kitchen.writer.overwrite
    ready = root / "SegmentationPart"
    done: list[str] = []
    if kitchen.obtain.place(PASCAL_PART) or kitchen.obtain.is_given(PASCAL_PART):
        sources = files(kitchen.need(PASCAL_PART), "*.mat")
        jobs = [MaskJob(ready / f"{path.stem}.png", path) for path in sources]
        done.append(kitchen.writer.write(labels_of_parts, jobs, "SegmentationPart"))
    elif overwrite or not ready.is_dir() or not (root / "list" / "val_id.txt").is_file():
        pack = kitchen.need(PERSON_PART)
        jobs = [MaskJob(ready / path.name, path) for path in files(pack, "*.png")]
        done.append(kitchen.writer.write(labels_of_pack, jobs, "SegmentationPart"))
        done += _lists_of_pack(pack.parent / "pascal_person_part_trainval_list", root / "list", overwrite)
    names = [path.stem for path in files(ready, "*.png")]
    pictures = root / "JPEGImages"
    if not all((pictures / f"{name}.jpg").is_file() for name in names):
        done.append(link_pictures(kitchen.need(VOC2010), pictures, names))
    for split in ("train", "val"):
        target, main = root / "list" / f"{split}_id.txt", root / "VOC2010" / "ImageSets" / "Main" / f"{split}.txt"
        if not target.is_file():
            shown = set(names)
            done.append(write_list(target, [name for name in read_ids(main) if name in shown], overwrite))
    return done


def labels_of_parts(path: Path) -> Labels | None:
    """Read one annotation of PASCAL-Part; of parts that overlap, the later one in the file is seen.

    None for one without a person that has parts. Raises InputError for a file that is damaged or of another kind.
    """
    labels: Labels | None = None
    for name, mask in _person_parts(path):
        if name not in LABELS:
            raise InputError(f"{path}: the part {name} is none of a person's, which are {', '.join(sorted(LABELS))}.")
        shape = label_map(mask, 255, path)
        labels = np.zeros(shape.shape, np.uint8) if labels is None else labels
        if shape.shape != labels.shape:
            raise InputError(f"{path}: the masks of its parts have different sizes, {shape.shape} and {labels.shape}.")
        labels[shape > 0] = LABELS[name]
    return labels


def labels_of_pack(path: Path) -> Labels:
    """Read one mask of the owners' pack, palette PNG 0 to 6."""
    mask = read_mask(path)
    wrong = mask[(mask >= len(_PARTS) + 1) & (mask != 255)]
    if wrong.size:
        raise InputError(f"{path}: label {wrong[0]} is none of Person-Part's, which are 0 to {len(_PARTS)}.")
    return mask


def _person_parts(path: Path) -> list[tuple[str, object]]:
    annotation = read_mat(path, "anno")
    parts = []
    for thing in items(field(annotation, "objects", path)):
        if _text(thing, "class", path) == "person":
            for part in items(field(thing, "parts", path)):
                parts.append((_text(part, "part_name", path), field(part, "mask", path)))
    return parts


def _text(value: Any, name: str, path: Path) -> str:
    text = field(value, name, path)
    if not isinstance(text, str):
        raise InputError(f"{path}: the field {name} is no text; the file is damaged, get it again.")
    return text


def _lists_of_pack(source: Path, target: Path, overwrite: bool) -> list[str]:
    done = []
    for split in ("train", "val"):
        found = [source / name for name in (f"{split}_id.txt", f"{split}.txt") if (source / name).is_file()]
        if found:
            done.append(write_list(target / f"{split}_id.txt", read_ids(found[0]), overwrite))
    return done
