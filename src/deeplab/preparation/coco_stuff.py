"""COCO-Stuff: masks of the 10k set from its .mat files; the 164k set has masks of its own."""

from pathlib import Path

import numpy as np

from deeplab.preparation.masks import Labels, MaskJob
from deeplab.preparation.mat_files import label_map, read_mat
from deeplab.preparation.originals import COCO_STUFF_10K, COCO_STUFF_164K, COCO_TRAIN, COCO_VAL, Original
from deeplab.preparation.recipe import Kitchen, files

_CLASSES = 182


def _in_images(original: Original) -> Original:
    # As its owners lay it out: images/train2017 beside annotations/train2017.
    return Original(
        original.title,
        (f"images/{original.present[0]}",),
        original.archive,
        original.source,
        original.url,
        original.checksum,
        into="images",
        required=False,
    )


ORIGINALS_10K = (COCO_STUFF_10K,)
ORIGINALS_164K = (_in_images(COCO_TRAIN), _in_images(COCO_VAL), COCO_STUFF_164K)


def prepare_coco_stuff_10k(kitchen: Kitchen) -> list[str]:
    """Make masks/*.png of annotations/*.mat."""
    sources = files(kitchen.need(COCO_STUFF_10K), "*.mat")
    jobs = [MaskJob(kitchen.root / "masks" / f"{path.stem}.png", path) for path in sources]
    return [kitchen.writer.write(labels, jobs, "masks")]


def prepare_coco_stuff_164k(kitchen: Kitchen) -> list[str]:
    """Bring pictures and masks to their places; the masks are used as they are."""
    for pictures in ORIGINALS_164K[:2]:
        kitchen.obtain(pictures)
    files(kitchen.need(COCO_STUFF_164K), "*.png")
    return ["The masks of COCO-Stuff 164k are used as they are."]


def labels(path: Path) -> Labels:
    """Read one annotation (`S`, 0 unlabeled, 1 to 182) as labels 0 to 181, void 255."""
    owners = label_map(read_mat(path, "S"), _CLASSES, path)
    return np.where(owners == 0, 255, owners - 1).astype(np.uint8)
