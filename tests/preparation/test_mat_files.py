"""MATLAB files of both formats read the same, and broken ones are named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from deeplab.errors import InputError
from deeplab.preparation.mat_files import field, items, label_map, read_mat

Save = Callable[[Path, dict[str, Any]], None]
LABELS = np.arange(12, dtype=np.uint16).reshape(3, 4)


def structs(*each: dict[str, Any]) -> np.ndarray:
    array = np.empty(len(each), dtype=object)
    array[:] = each
    return array


def test_numbers_text_and_structs(tmp_path: Path, save_mat: Save) -> None:
    path = tmp_path / "Bild ü.mat"
    save_mat(path, {"a": {"name": "person", "labels": LABELS}, "b": LABELS.astype(float)})
    value = read_mat(path, "a")
    assert value["name"] == "person" and np.array_equal(value["labels"], LABELS)
    assert np.array_equal(read_mat(path, "b"), LABELS)


def test_arrays_of_structs(tmp_path: Path, save_v5: Save, request: pytest.FixtureRequest) -> None:
    objects = [{"class": "person", "mask": LABELS}, {"class": "dog", "mask": LABELS + 1}]
    array = np.zeros((1, 2), dtype=[("class", object), ("mask", object)])
    for column, each in enumerate(objects):
        array[0, column]["class"], array[0, column]["mask"] = each["class"], each["mask"]
    save_v5(tmp_path / "v5.mat", {"anno": {"objects": array}})
    from_v5 = read_mat(tmp_path / "v5.mat", "anno")["objects"]
    assert [each["class"] for each in items(from_v5)] == ["person", "dog"]
    assert np.array_equal(from_v5[1]["mask"], LABELS + 1)


def test_arrays_of_structs_in_hdf5(tmp_path: Path, saver_v73: Save) -> None:
    saver_v73(
        tmp_path / "a.mat",
        {"anno": {"objects": structs({"class": "person", "mask": LABELS}, {"class": "dog", "mask": LABELS + 1})}},
    )
    value = read_mat(tmp_path / "a.mat", "anno")["objects"]
    assert [each["class"] for each in value] == ["person", "dog"] and np.array_equal(value[1]["mask"], LABELS + 1)


def test_one_struct_and_no_struct_are_arrays_too(tmp_path: Path, save_v5: Save) -> None:
    save_v5(tmp_path / "a.mat", {"a": {"one": {"x": 1.0}, "none": np.zeros((0, 0))}})
    value = read_mat(tmp_path / "a.mat", "a")
    assert len(items(value["one"])) == 1 and items(value["none"]) == []


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.6, 0.9])
def test_a_file_that_breaks_off_is_named(tmp_path: Path, save_mat: Save, share: float) -> None:
    path = tmp_path / "a.mat"
    labels = np.random.default_rng(0).integers(0, 20, (60, 80), dtype=np.uint8)
    save_mat(path, {"GTcls": {"Segmentation": labels}})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=r"a\.mat: this is no \.mat file that can be read|is missing|is not in"):
        field(read_mat(path, "GTcls"), "Segmentation", path)


def test_noise_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    for seed in range(20):
        path.write_bytes(np.random.default_rng(seed).bytes(4000))
        with pytest.raises(InputError, match=r"a\.mat"):
            read_mat(path, "S")


def test_what_is_missing_is_named(tmp_path: Path, save_mat: Save) -> None:
    path = tmp_path / "a.mat"
    with pytest.raises(InputError, match="there is no such file"):
        read_mat(path, "S")
    save_mat(path, {"T": LABELS, "struct": {"x": LABELS}})
    with pytest.raises(InputError, match=r"a\.mat: the variable S is not in this file"):
        read_mat(path, "S")
    with pytest.raises(InputError, match="the field Segmentation is missing"):
        field(read_mat(path, "struct"), "Segmentation", path)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("text", "no picture of numbers"),
        (np.zeros((2, 2, 3)), "no picture of numbers"),
        (np.zeros((0, 0)), "no picture of numbers"),
        (np.full((2, 2), 21), "reach from 21 to 21; they must be whole, 0 to 20"),
        (np.full((2, 2), -1), "reach from -1"),
        (np.full((2, 2), 0.5), "must be whole"),
        (np.full((2, 2), np.nan), "must be whole"),
        ([], "no picture of numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_labels_of_a_wrong_kind_are_refused(value: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        label_map(value, 20, Path("a.mat"))


def test_hdf5_may_not_lead_to_other_files(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["S"] = LABELS
    with h5py.File(tmp_path / "link.mat", "w") as file:
        file["S"] = h5py.ExternalLink("secret.h5", "S")
    with h5py.File(tmp_path / "raw.mat", "w") as file:
        file.create_dataset("S", (4,), "u1", external=[(str(tmp_path / "secret.h5"), 0, 4)])
    with h5py.File(tmp_path / "virtual.mat", "w") as file:
        layout = h5py.VirtualLayout((3, 4), "u2")
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "S", (3, 4))
        file.create_virtual_dataset("S", layout)
    for name in ("link", "raw", "virtual"):
        with pytest.raises(InputError, match="its data lie in other files"):
            read_mat(tmp_path / f"{name}.mat", "S")


def test_hdf5_that_holds_a_type_leads_into_itself_or_is_too_large(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "type.mat", "w") as file:
        file["S"] = np.dtype("f8")
    with pytest.raises(InputError, match="a type stands where a value has to be"):
        read_mat(tmp_path / "type.mat", "S")
    with h5py.File(tmp_path / "circle.mat", "w") as file:
        file["S/a"] = LABELS
        file["S/b"] = file["S"]
    with pytest.raises(InputError, match=r"circle\.mat: this is no \.mat file that can be read"):
        read_mat(tmp_path / "circle.mat", "S")
    with h5py.File(tmp_path / "large.mat", "w") as file:
        file.create_dataset("S", (1 << 20, 1 << 10), "u1", chunks=(1024, 1024))
    with pytest.raises(InputError, match="1073741824 bytes are more than an annotation has"):
        read_mat(tmp_path / "large.mat", "S")
