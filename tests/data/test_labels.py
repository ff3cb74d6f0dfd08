"""Which values a mask may hold, and what they mean."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeplab.data.labels import LabelRule
from deeplab.data.reading import UInt8Array
from deeplab.data.samples import FilePictures
from deeplab.errors import InputError


def mask(*values: int) -> UInt8Array:
    return np.array([values], dtype=np.uint8)


def test_labels_in_range_and_void_pass_unchanged() -> None:
    assert LabelRule(21)(mask(0, 20, 255), "x").tolist() == [[0, 20, 255]]


@pytest.mark.parametrize("value", [21, 100, 254])
def test_a_label_outside_the_classes_is_refused_with_file_and_value(value: int) -> None:
    with pytest.raises(InputError, match=rf"m\.png: label {value} is outside 0\.\.20"):
        LabelRule(21)(mask(0, 1, value, 255), "m.png")


@pytest.mark.parametrize("values", [(0, 255), (255,), (0, 0, 255)])
def test_a_two_class_mask_of_0_and_255_is_refused(values: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"m\.png.*data\.label_map=\{255: 1\}"):
        LabelRule(2)(mask(*values), "m.png")


@pytest.mark.parametrize("values", [(0,), (0, 1, 255), (1, 255), (0, 1)])
def test_other_two_class_masks_pass(values: tuple[int, ...]) -> None:
    assert LabelRule(2)(mask(*values), "m.png").tolist() == [list(values)]


def test_label_map_settles_what_255_means() -> None:
    assert LabelRule(2, {255: 1})(mask(0, 255), "x").tolist() == [[0, 1]]
    assert LabelRule(2, {255: 255})(mask(0, 255), "x").tolist() == [[0, 255]]


def test_label_map_replaces_all_at_once() -> None:
    assert LabelRule(3, {0: 1, 1: 2, 2: 0, 9: 255})(mask(0, 1, 2, 9), "x").tolist() == [[1, 2, 0, 255]]


def test_ignore_label_becomes_void() -> None:
    assert LabelRule(2, ignore_label=7)(mask(0, 1, 7), "x").tolist() == [[0, 1, 255]]


def test_the_given_mask_is_left_alone() -> None:
    original = mask(0, 255)
    LabelRule(2, {255: 1})(original, "x")
    assert original.tolist() == [[0, 255]]


@pytest.mark.parametrize("label_map", [{256: 0}, {-1: 0}, {3: 2}, {3: -1}])
def test_a_label_map_that_leads_nowhere_is_refused(label_map: dict[int, int]) -> None:
    with pytest.raises(InputError, match=r"data\.label_map"):
        LabelRule(2, label_map)


@pytest.mark.parametrize("label_map", [{255: 1}, {"255": 1}, {"255": "1"}, {0: 0, 255: 1}])
def test_pairs_of_numbers_or_texts(label_map: dict[Any, Any]) -> None:
    assert LabelRule(2, label_map)(mask(0, 255), "").tolist() == mask(0, 1).tolist()


@pytest.mark.parametrize(
    "label_map", [[255, 1], "255:1", "white", 255, {"white": 1}, {255: None}, {1.5: 1}, {255: True}]
)
def test_what_is_no_pairs_of_whole_numbers_is_refused(label_map: Any) -> None:
    with pytest.raises(InputError, match=r"data\.label_map=.*pairs of whole numbers.*\{255: 1\}"):
        LabelRule(2, label_map)


def test_an_empty_label_map_is_none() -> None:
    with pytest.raises(InputError, match="only 0 and 255"):
        LabelRule(2, {})(mask(0, 255), "mask.png")


@pytest.mark.parametrize("num_classes", [0, 255, 300])
def test_more_classes_than_8_bits_hold_are_refused(num_classes: int) -> None:
    with pytest.raises(InputError, match=r"data\.class_names"):
        LabelRule(num_classes)


def test_a_set_whose_masks_all_hold_0_and_255_is_refused(
    tmp_path: Path, save_mask: Callable[[Path, UInt8Array], None]
) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path in paths:
        save_mask(path, mask(0, 255))
    pictures = FilePictures(["0", "1", "2"], paths, paths)
    with pytest.raises(InputError, match=r"0\.png.*data\.label_map=\{255: 1\}"):
        LabelRule(21).check_set(pictures)
    LabelRule(21, {255: 1}).check_set(pictures)
    save_mask(paths[1], mask(0, 0))  # a picture without the object
    with pytest.raises(InputError, match=r"data\.label_map=\{255: 1\}"):
        LabelRule(21).check_set(pictures)
    save_mask(paths[2], mask(0, 4, 255))
    LabelRule(21).check_set(pictures)  # one picture of nothing but background and void is no mistake


def test_a_set_of_unreadable_masks_is_not_called_one_of_0_and_255(tmp_path: Path) -> None:
    path = tmp_path / "0.png"
    path.write_bytes(b"")
    LabelRule(21).check_set(FilePictures(["0"], [path], [path]), skip_unreadable=True)
