"""PASCAL-Context: 59 classes and background from the files of 459 labels."""

from pathlib import Path

import numpy as np

from deeplab.errors import InputError
from deeplab.preparation.masks import Labels, MaskJob
from deeplab.preparation.mat_files import label_map, read_mat
from deeplab.preparation.originals import PASCAL_CONTEXT, VOC2010
from deeplab.preparation.recipe import Kitchen, files, read_ids, write_list

ORIGINALS = (VOC2010, PASCAL_CONTEXT)

# The number of each class among the 459 labels (PyTorch-Encoding's list, which mmsegmentation's converter has too; the
# names are those of the owners' labels.txt). Classes are numbered in this order from 1; other labels are background.
NUMBERS = {
    "aeroplane": 2, "bag": 9, "bed": 18, "bedclothes": 19, "bench": 22, "bicycle": 23, "bird": 25, "boat": 31,
    "book": 33, "bottle": 34, "building": 44, "bus": 45, "cabinet": 46, "car": 59, "cat": 65, "ceiling": 68,
    "chair": 72, "cloth": 80, "computer": 85, "cow": 98, "cup": 104, "curtain": 105, "dog": 113, "door": 115,
    "fence": 144, "floor": 158, "flower": 159, "food": 162, "grass": 187, "ground": 189, "horse": 207,
    "keyboard": 220, "light": 232, "motorbike": 258, "mountain": 259, "mouse": 260, "person": 284, "plate": 295,
    "platform": 296, "pottedplant": 308, "road": 324, "rock": 326, "sheep": 347, "shelves": 349, "sidewalk": 354,
    "sign": 355, "sky": 360, "snow": 366, "sofa": 368, "table": 397, "track": 415, "train": 416, "tree": 420,
    "truck": 424, "tvmonitor": 427, "wall": 440, "water": 445, "window": 454, "wood": 458,
}  # fmt: skip
_LABELS = 459
_TABLE = np.zeros(_LABELS + 1, dtype=np.uint8)
_TABLE[list(NUMBERS.values())] = np.arange(1, len(NUMBERS) + 1)


def prepare_context(kitchen: Kitchen) -> list[str]:
    """Make SegmentationClassContext, and the lists train and val: those of VOC 2010's Main, as far as annotated."""
    voc = kitchen.need(VOC2010).parent
    annotations = kitchen.need(PASCAL_CONTEXT)
    check_numbers(annotations.parent / "labels.txt")
    sources = files(annotations, "*.mat")
    jobs = [MaskJob(voc / "SegmentationClassContext" / f"{path.stem}.png", path) for path in sources]
    done = [kitchen.writer.write(labels, jobs, "SegmentationClassContext")]
    annotated = {path.stem for path in sources}
    for split in ("train", "val"):
        target = voc / "ImageSets" / "SegmentationContext" / f"{split}.txt"
        ids = [name for name in read_ids(voc / "ImageSets" / "Main" / f"{split}.txt") if name in annotated]
        done.append(write_list(target, ids, kitchen.writer.overwrite))
    return done


def labels(path: Path) -> Labels:
    """Read one annotation (`LabelMap`, 0 to 459) as 59 classes and background."""
    return np.asarray(_TABLE[label_map(read_mat(path, "LabelMap"), _LABELS, path)])


def check_numbers(path: Path) -> None:
    """Compare the numbers above with the owners' labels.txt (`2: aeroplane`), where it is there.

    Raises InputError for a class of another number.
    """
    if not path.is_file():
        return
    names: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        number, _, name = line.partition(":")
        names[number.strip()] = name.replace(" ", "").strip()
    for name, value in NUMBERS.items():
        if names.get(str(value)) != name:
            raise InputError(
                f"{path}: label {value} is {names.get(str(value))!r} and not {name}; these are not the 459 labels of "
                "PASCAL-Context."
            )
