"""The DataModule alone: splits, held-out pictures, bad values and bad files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeplab.data.module import SegmentationData
from deeplab.data.reading import UInt8Array
from deeplab.data.scenes import Scenes
from deeplab.data.voc import VOC
from deeplab.errors import InputError

MakeVOC = Callable[..., Path]
NAMES = ["background", "ball", "crate", "ring", "rope", "star", "leaf", "mug"]
DEFAULTS: dict[str, Any] = {
    "num_classes": 8,
    "class_names": NAMES,
    "pad_rgb": (122.675, 116.669, 104.008),
    "seed": 0,
    "crop_size": 33,
    "global_batch_size": 2,
}


def scenes_data(**options: Any) -> SegmentationData:
    layout = Scenes({"train": 10, "val": 4, "test": 3}, height=40, width=48)
    return SegmentationData(layout=layout, **(DEFAULTS | options))


def voc_data(root: Path, **options: Any) -> SegmentationData:
    names = [f"class {i}" for i in range(21)]
    return SegmentationData(layout=VOC(root), **(DEFAULTS | {"class_names": names, "num_classes": 21} | options))


def test_loaders_of_each_split() -> None:
    data = scenes_data()
    data.setup("fit")
    assert len(list(data.train_dataloader())) == 5
    assert [sample["id"] for sample in data.val_dataloader()] == [f"val_{i:06d}" for i in range(4)]
    assert [sample["id"] for sample in data.test_dataloader("test")] == [f"test_{i:06d}" for i in range(3)]
    assert len(data.test_dataloader()) == 4
    data.test_split = "test"
    assert len(data.test_dataloader()) == 3


def test_val_limit_takes_the_first_pictures() -> None:
    assert [s["id"] for s in scenes_data(val_limit=2).val_dataloader()] == ["val_000000", "val_000001"]
    assert len(scenes_data(val_limit=9).val_dataloader()) == 4


def test_held_out_pictures_are_validated_and_never_trained_on() -> None:
    data = scenes_data(hold_out=3, val_split="held_out")
    trained = {name for batch in data.train_dataloader() for name in batch["id"]}
    held = {sample["id"] for sample in data.val_dataloader()}
    chosen = {f"train_{i:06d}" for i in np.random.default_rng(0).permutation(10)[:3]}
    assert held == chosen
    assert trained <= {f"train_{i:06d}" for i in range(10)} - chosen and len(trained) == 6
    assert {sample["id"] for sample in scenes_data(hold_out=3, seed=9).test_dataloader("held_out")} == held
    assert {sample["id"] for sample in scenes_data(hold_out=3, hold_out_seed=9).test_dataloader("held_out")} != held


def test_held_out_without_hold_out_is_refused() -> None:
    with pytest.raises(InputError, match=r"data\.hold_out"):
        scenes_data(val_split="held_out").setup("validate")
    with pytest.raises(InputError, match=r"data\.hold_out=10"):
        scenes_data(hold_out=10).setup("fit")


def test_palette_and_names() -> None:
    data = scenes_data(palette=[[i, i, i] for i in range(8)])
    assert data.palette[7].tolist() == [7, 7, 7]
    assert data.class_names[1] == "ball"


@pytest.mark.parametrize(
    "options",
    [
        {"num_classes": 7},
        {"class_names": ["a"] * 8},
        {"num_workers": -1},
        {"val_limit": 0},
        {"label_map": {300: 1}},
        {"palette": "ade"},
    ],
)
def test_values_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        scenes_data(**options)


def test_binary_masks_are_found_before_training(
    make_voc: MakeVOC, save_mask: Callable[[Path, UInt8Array], None]
) -> None:
    root = make_voc()
    for path in (root / "VOC2012/SegmentationClass").iterdir():
        height = VOC(root).split("trainval").ids.index(path.stem) + 20
        save_mask(path, np.tile(np.array([0] * 15 + [255] * 15, dtype=np.uint8), (height, 1)))
    for stage in ("fit", "validate"):
        with pytest.raises(InputError, match=r"data\.label_map=\{255: 1\}"):
            voc_data(root).setup(stage)
    with pytest.raises(InputError, match=r"data\.label_map=\{255: 1\}"):
        voc_data(root).test_dataloader("train")
    data = voc_data(root, label_map={255: 1})
    assert set(next(iter(data.val_dataloader()))["label"].unique().tolist()) == {0, 1}


def test_a_label_outside_the_classes_is_named(make_voc: MakeVOC, save_mask: Callable[[Path, UInt8Array], None]) -> None:
    root = make_voc()
    save_mask(root / "VOC2012/SegmentationClass/v.png", np.full((23, 30), 77, dtype=np.uint8))
    with pytest.raises(InputError, match=r"v\.png: label 77"):
        list(voc_data(root).val_dataloader())
