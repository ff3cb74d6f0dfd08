"""The files that the data sets' owners publish: where they are, and how to know them.

A URL or a checksum stands here only with the public file in which it was read (`source`); none of them was fetched
when this was written. Where no checksum is published, `data prepare` records the sha256 that it saw.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Original:
    """One archive of a data set.

    - `present`: places below the root, any of which shows that it is unpacked;
    - `archive`: its file name, `url` where it is offered without a login, `checksum` as `md5:...`;
    - `into`: the folder below the root that it is unpacked into, `strip`: leading folders that its entries lose;
    - `required`: whether masks can be made without it.
    """

    title: str
    present: tuple[str, ...]
    archive: str
    source: str
    url: str | None = None
    checksum: str | None = None
    into: str = ""
    strip: str = ""
    required: bool = True


VOC2012 = Original(
    "PASCAL VOC 2012",
    ("VOC2012/SegmentationClass",),
    "VOCtrainval_11-May-2012.tar",
    "pytorch/vision: torchvision/datasets/voc.py",
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    "md5:6cd6e144f989b92b3379bac3b3de84fd",
    strip="VOCdevkit",
)
VOC2010 = Original(
    "PASCAL VOC 2010",
    ("VOC2010/JPEGImages",),
    "VOCtrainval_03-May-2010.tar",
    "pytorch/vision: torchvision/datasets/voc.py",
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar",
    "md5:da459979d0c395079b5c75ee67908abb",
    strip="VOCdevkit",
)
SBD = Original(
    "the Semantic Boundaries Dataset",
    ("benchmark_RELEASE/dataset/cls", "../benchmark_RELEASE/dataset/cls"),
    "benchmark.tgz",
    "pytorch/vision: torchvision/datasets/sbd.py",
    "http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
    "md5:82b4d87ceb2ed10f6038a1cba92111cb",
)
PASCAL_CONTEXT = Original(
    "PASCAL-Context's 459 labels",
    ("pascal_context/trainval", "VOC2010/trainval", "trainval"),
    "trainval.tar.gz",
    "mseg-dataset/mseg-api: download_scripts/mseg_download_pascalcontext.sh",
    "https://cs.stanford.edu/~roozbeh/pascal-context/trainval.tar.gz",
    into="pascal_context",
)
PERSON_PART = Original(
    "PASCAL-Person-Part",
    ("pascal_person_part/pascal_person_part_gt", "pascal_person_part_gt"),
    "pascal_person_part.zip",
    "DrSleep/light-weight-refinenet, issue 24",
    "http://liangchiehchen.com/data/pascal_person_part.zip",
)
# Its archive has the name of PASCAL-Context's, so it is taken only when it is named, and never downloaded.
PASCAL_PART = Original(
    "PASCAL-Part",
    ("Annotations_Part",),
    "trainval.tar.gz",
    "hyeonbeenlee/segment-anything-fine-tuning: README.md names http://roozbehm.info/pascal-parts/trainval.tar.gz",
)
CITYSCAPES_PICTURES = Original(
    "Cityscapes' pictures",
    ("leftImg8bit/train", "leftImg8bit/val"),
    "leftImg8bit_trainvaltest.zip",
    "mcordts/cityscapesScripts: README.md (the site wants a login, so there is no download)",
    required=False,
)
CITYSCAPES_LABELS = Original(
    "Cityscapes' fine annotations",
    ("gtFine/train", "gtFine/val"),
    "gtFine_trainvaltest.zip",
    "mcordts/cityscapesScripts: README.md (the site wants a login, so there is no download)",
)
COCO_TRAIN = Original(
    "COCO's training pictures",
    ("train2017", "images/train2017"),
    "train2017.zip",
    "PaddlePaddle/PaddleDetection: ppdet/utils/download.py",
    "http://images.cocodataset.org/zips/train2017.zip",
    "md5:cced6f7f71b7629ddf16f17bbcfab6b2",
    required=False,
)
COCO_VAL = Original(
    "COCO's validation pictures",
    ("val2017", "images/val2017"),
    "val2017.zip",
    "PaddlePaddle/PaddleDetection: ppdet/utils/download.py",
    "http://images.cocodataset.org/zips/val2017.zip",
    "md5:442b8da7639aecaf257c1dceb8ba8c80",
    required=False,
)
COCO_INSTANCES = Original(
    "COCO's instances",
    ("annotations/instances_train2017.json", "annotations/instances_val2017.json"),
    "annotations_trainval2017.zip",
    "PaddlePaddle/PaddleDetection: ppdet/utils/download.py",
    "http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
    "md5:f4bbac642086de4f52a3fdda2de5fa2c",
)
COCO_STUFF_10K = Original(
    "COCO-Stuff 10k",
    ("annotations",),
    "cocostuff-10k-v1.1.zip",
    "kazuto1011/deeplab-pytorch: scripts/setup_cocostuff10k.sh",
    "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/cocostuff-10k-v1.1.zip",
)
COCO_STUFF_164K = Original(
    "COCO-Stuff 164k",
    ("annotations/train2017", "annotations/val2017"),
    "stuffthingmaps_trainval2017.zip",
    "nightrome/cocostuff: README.md",
    "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/stuffthingmaps_trainval2017.zip",
    into="annotations",
)
