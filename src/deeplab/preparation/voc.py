"""PASCAL VOC 2012 with the annotations of SBD: SegmentationClassAug and the list of 10,582 training pictures."""

from pathlib import Path

import numpy as np

from deeplab.data.reading import read_mask
from deeplab.errors import InputError
from deeplab.preparation.masks import Labels, MaskJob
from deeplab.preparation.mat_files import field, label_map, read_mat
from deeplab.preparation.originals import SBD, VOC2012
from deeplab.preparation.recipe import Kitchen, files, read_ids, write_list

ORIGINALS = (VOC2012,)
AUG_ORIGINALS = (VOC2012, SBD)
_CLASSES = 20


def prepare_voc(kitchen: Kitchen) -> list[str]:
    """PASCAL VOC 2012 is complete as its owners publish it."""
    kitchen.need(VOC2012)
    return ["PASCAL VOC 2012 needs no preparation."]


def prepare_voc_aug(kitchen: Kitchen) -> list[str]:
    """Make SegmentationClassAug and the lists of ImageSets/SegmentationAug.

    SBD's labels come first and VOC's own masks, where there are any, take their place, with their void; train_aug is
    all of SBD and VOC's train without VOC's val (10,582 pictures of the published sets), trainval_aug is with it.
    """
    voc = kitchen.need(VOC2012).parent
    if not kitchen.writer.overwrite and _is_complete(voc):
        return ["SegmentationClassAug is complete."]
    sbd = {path.stem: path for path in files(kitchen.need(SBD), "*.mat")}
    own = {path.stem: path for path in files(voc / "SegmentationClass", "*.png")}
    sources = sbd | own
    jobs = [MaskJob(voc / "SegmentationClassAug" / f"{name}.png", sources[name]) for name in sorted(sources)]
    done = [kitchen.writer.write(labels, jobs, "SegmentationClassAug")]
    lists = voc / "ImageSets"
    train, val = (read_ids(lists / "Segmentation" / f"{split}.txt") for split in ("train", "val"))
    everything = set(sbd) | set(train)
    for name, ids in (("train_aug", everything - set(val)), ("trainval_aug", everything | set(val))):
        done.append(write_list(lists / "SegmentationAug" / f"{name}.txt", sorted(ids), kitchen.writer.overwrite))
    return done


def labels(path: Path) -> Labels:
    """Read one annotation: VOC's palette PNG, or SBD's .mat (`GTcls.Segmentation`), which has no void."""
    if path.suffix == ".mat":
        segmentation = field(read_mat(path, "GTcls"), "Segmentation", path)
        return label_map(segmentation, _CLASSES, path).astype(np.uint8)
    mask = read_mask(path)
    wrong = mask[(mask > _CLASSES) & (mask != 255)]
    if wrong.size:
        raise InputError(f"{path}: label {wrong[0]} is none of VOC's, which are 0 to {_CLASSES} and 255.")
    return mask


def _is_complete(voc: Path) -> bool:
    """Tell whether every picture of train_aug has a mask, as in ready-made copies of SegmentationClassAug."""
    path = voc / "ImageSets" / "SegmentationAug" / "train_aug.txt"
    folders = [voc / "SegmentationClassAug", voc / "SegmentationClass"]
    if not path.is_file() or not folders[0].is_dir():
        return False
    return all(any((folder / f"{name}.png").is_file() for folder in folders) for name in read_ids(path))
