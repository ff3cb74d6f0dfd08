"""What is published about the data sets: how many pictures a split has, and whose truth has void."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Published:
    """`sizes`: pictures of a split; `void`: splits whose truth has void in nearly every picture."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    void: frozenset[str] = frozenset()


_VOC_SIZES = {"train": 1464, "val": 1449, "trainval": 2913, "test": 1456, "train_aug": 10582, "trainval_aug": 12031}
_VOC = Published(_VOC_SIZES, frozenset({"train", "val", "trainval"}))
_COCO_SIZES = {"train2017": 118_287, "val2017": 5_000}

# Sizes of VOC, PASCAL-Context, Person-Part and Cityscapes: section 4 of the paper. COCO: cocodataset.org; COCO-Stuff:
# nightrome/cocostuff, README.md. The numbers belong to the data sets of conf/data by name.
PUBLISHED = {
    "voc12": _VOC,
    "voc12_aug": _VOC,
    "pascal_context": Published({"train": 4998, "val": 5105}),
    "person_part": Published({"train_id": 1716, "val_id": 1817}),
    "cityscapes": Published({"train": 2975, "val": 500, "test": 1525}, frozenset({"train", "val"})),
    "coco": Published(_COCO_SIZES),
    "coco_stuff_10k": Published({"train": 9000, "test": 1000}),
    "coco_stuff_164k": Published(_COCO_SIZES),
}
