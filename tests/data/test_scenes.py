"""Generated scenes: reproducible, varied, with all classes, outlines and void as promised."""

import numpy as np
import pytest

from deeplab.data import scenes
from deeplab.data.scene_drawing import CLASS_NAMES, draw_scene
from deeplab.data.scenes import Scenes
from deeplab.errors import InputError


def test_a_scene_depends_on_seed_and_index_only() -> None:
    first = Scenes({"train": 4, "val": 2}, seed=3).split("train")
    again = Scenes({"train": 9}, seed=3).split("train")
    for index in (3, 0):
        assert first[index]["id"] == again[index]["id"] == f"train_{index:06d}"
        assert np.array_equal(first[index]["image"], again[index]["image"])
        assert np.array_equal(first[index]["label"], again[index]["label"])
    assert not np.array_equal(first[0]["image"], first[1]["image"])
    assert not np.array_equal(first[0]["image"], Scenes({"train": 1}, seed=4).split("train")[0]["image"])


def test_what_a_caller_does_to_a_sample_stays_with_it() -> None:
    split = Scenes({"train": 1}, height=40, width=40).split("train")
    before = split[0]["image"].copy()
    changed = split[0]
    changed["image"][:] = 0
    changed["label"][:] = 9
    assert np.array_equal(split[0]["image"], before) and split[0]["label"].max() < 8


def test_no_more_scenes_are_kept_than_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "_KEPT_BYTES", 3 * 4 * 40 * 40)
    split = Scenes({"train": 9}, height=40, width=40).split("train")
    first = [split[i]["image"] for i in range(9)]
    assert len(split._kept) == 3
    assert all(np.array_equal(split[i]["image"], first[i]) for i in range(9))


def test_splits_share_no_picture() -> None:
    layout = Scenes({"train": 20, "val": 20, "test": 20}, height=40, width=40)
    pictures = [layout.split(name)[i]["image"].tobytes() for name in ("train", "val", "test") for i in range(20)]
    assert len(set(pictures)) == 60


def test_shape_types_and_classes() -> None:
    split = Scenes({"train": 40}, height=150, width=190).split("train")
    assert len(split) == 40 and list(split.masks) == []
    counts = np.zeros(256, dtype=int)
    for index in range(len(split)):
        sample = split[index]
        assert sample["image"].shape == (150, 190, 3) and sample["image"].dtype == np.uint8
        assert sample["label"].shape == (150, 190) and sample["label"].dtype == np.uint8
        counts += np.bincount(sample["label"].ravel(), minlength=256)
    shares = counts / counts.sum()
    assert len(CLASS_NAMES) == 8
    assert counts[8:].sum() == 0
    assert 0.6 < shares[0] < 0.9 and shares[1:8].min() > 0.008


def test_outlines_are_sharper_than_surfaces() -> None:
    """Neighbours across an edge between labels differ far more than neighbours within one, which the CRF needs."""
    across, within = [], []
    for index in range(10):
        image, label = draw_scene(0, index, 160, 200)
        step = np.abs(np.diff(image.astype(int), axis=1)).sum(2)
        edge = label[:, 1:] != label[:, :-1]
        across.append(np.median(step[edge]))
        within.append(np.median(step[~edge]))
    assert np.mean(across) > 3 * np.mean(within)


def test_void_outline_covers_edges_and_nothing_else() -> None:
    image, label = draw_scene(0, 5, 80, 100)
    same_image, outlined = draw_scene(0, 5, 80, 100, void_outline=1)
    assert np.array_equal(image, same_image)
    padded = np.pad(label, 1, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    at_edge = (windows != label[:, :, None, None]).any((2, 3))
    assert np.array_equal(outlined == 255, at_edge)
    assert np.array_equal(outlined[~at_edge], label[~at_edge])


@pytest.mark.parametrize(
    "options",
    [
        {"sizes": {}},
        {"sizes": {"training": 3}},
        {"sizes": {"train": 0}},
        {"sizes": {"train": 3}, "height": 20},
        {"sizes": {"train": 3}, "seed": -1},
    ],
)
def test_options_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"data\.layout"):
        Scenes(**options)  # type: ignore[arg-type]


def test_a_split_without_a_size_is_refused() -> None:
    with pytest.raises(InputError, match="split val; choose one of train"):
        Scenes({"train": 3}).split("val")
    with pytest.raises(InputError, match=r"split my/list\.txt: scenes are generated.*choose one of train"):
        Scenes({"train": 3}).split("my/list.txt")
