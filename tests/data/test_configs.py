"""Every file of conf/data composes and builds the DataModule from its own keys."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from deeplab.data.module import SegmentationData
from deeplab.data.reading import UInt8Array
from deeplab.data.scene_drawing import CLASS_NAMES

CONF = Path(__file__).parents[2] / "conf"
Save = Callable[[Path, UInt8Array], None]


def build(*overrides: str) -> SegmentationData:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=[f"+{overrides[0]}", *overrides[1:]])
    keys: dict[str, Any] = OmegaConf.to_container(config.data, resolve=True, throw_on_missing=True)  # type: ignore
    layout = instantiate(keys.pop("layout"), _convert_="all")
    return SegmentationData(
        layout=layout,
        num_classes=len(keys["class_names"]),
        pad_rgb=(122.675, 116.669, 104.008),
        seed=0,
        global_batch_size=keys.pop("batch_size_per_device"),
        **keys,
    )


def test_this_covers_every_file() -> None:
    here = {"folder", "scenes", "voc12", "voc12_aug"}
    prepared = {"pascal_context", "person_part", "cityscapes", "coco", "coco_stuff_10k", "coco_stuff_164k"}
    assert {path.stem for path in (CONF / "data").glob("*.yaml")} == here | prepared


@pytest.mark.parametrize(
    ("name", "pictures", "mask", "lists", "classes"),
    [
        ("pascal_context", "VOC2010/JPEGImages/{}.jpg", "VOC2010/SegmentationClassContext/{}.png",
         "VOC2010/ImageSets/SegmentationContext/{}.txt", 60),
        ("person_part", "JPEGImages/{}.jpg", "SegmentationPart/{}.png", "list/{}_id.txt", 7),
        ("cityscapes", "leftImg8bit/{0}/bonn/bonn_000000_00000{1}_leftImg8bit.png",
         "gtFine/{0}/bonn/bonn_000000_00000{1}_gtFine_labelTrainIds.png", None, 19),
        ("coco", "{0}2017/{1}.jpg", "masks/{0}2017/{1}.png", None, 81),
        ("coco_stuff_10k", "images/{}.jpg", "masks/{}.png", "imageLists/{}.txt", 182),
        ("coco_stuff_164k", "images/{0}2017/{1}.jpg", "annotations/{0}2017/{1}.png", None, 182),
    ],
)  # fmt: skip
def test_prepared_sets(
    tmp_path: Path, save_picture: Save, save_mask: Save, name: str, pictures: str, mask: str, lists: str | None,
    classes: int,
) -> None:  # fmt: skip
    for number, split in enumerate(("train", "test" if name == "coco_stuff_10k" else "val")):
        place = (split, number) if lists is None else (f"{split}{number}", number)
        save_picture(tmp_path / pictures.format(*place), np.zeros((9, 9, 3), dtype=np.uint8))
        save_mask(tmp_path / mask.format(*place), np.full((9, 9), classes - 1, dtype=np.uint8))
        if lists is not None:
            (tmp_path / lists.format(split)).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / lists.format(split)).write_text(f"{split}{number}")
    data = build(f"data={name}", f"data.root='{tmp_path}'", "data.num_workers=0", "data.batch_size_per_device=1")
    assert data.num_classes == classes and len(data.training_pictures()) == 1
    assert [sample["label"].unique().tolist() for sample in data.val_dataloader()] == [[classes - 1]]


def test_scenes() -> None:
    data = build("data=scenes", "data.num_workers=0")
    assert data.class_names == list(CLASS_NAMES)
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (8, 3, 161, 161)
    assert next(iter(data.val_dataloader()))["image"].shape == (160, 200, 3)


@pytest.mark.parametrize(("name", "ids"), [("voc12", {"a", "b", "c"}), ("voc12_aug", {"a", "b", "c", "s"})])
def test_voc(make_voc: Callable[..., Path], name: str, ids: set[str]) -> None:
    data = build(
        f"data={name}", f"data.root='{make_voc()}'", "data.num_workers=0", f"data.batch_size_per_device={len(ids)}"
    )
    assert data.num_classes == 21
    batch = next(iter(data.train_dataloader()))
    assert set(batch["id"]) == ids and batch["image"].shape[2:] == (321, 321)
    assert [sample["id"] for sample in data.val_dataloader()] == ["v"]


def test_folder_with_white_as_foreground(tmp_path: Path, save_picture: Save, save_mask: Save) -> None:
    root = tmp_path / "Meine Bilder, 1=2"
    for name in "abcde":
        save_picture(root / "images" / f"{name}.png", np.zeros((9, 9, 3), dtype=np.uint8))
        save_mask(root / "masks" / f"{name}.png", np.full((9, 9), 255, dtype=np.uint8))
    overrides = [f"data.root='{root}'", "data.class_names=[background,crack]", "data.num_workers=0"]
    data = build("data=folder", *overrides, "data.label_map={255: 1}")
    samples = list(data.val_dataloader())
    assert len(samples) == 1 and samples[0]["label"].unique().tolist() == [1]
