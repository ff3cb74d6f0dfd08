"""Files of MATLAB 5 to 7: those that MATLAB wrote are read, damaged ones are refused before scipy sees them."""

import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from scipy.io import loadmat, savemat

from deeplab.errors import InputError
from deeplab.preparation import mat_version5
from deeplab.preparation.mat_files import read_mat
from deeplab.preparation.mat_version5 import only

OF_MATLAB = Path(scipy.io.__file__).parent / "matlab/tests/data"
FILES = ["testdouble_6.1_SOL2", "teststruct_7.4_GLNX86", "teststructarr_7.1_GLNX86", "testcellnest_7.4_GLNX86"]
FILES += ["testcomplex_7.4_GLNX86", "testunicode_7.1_GLNX86", "testobject_6.5.1_GLNX86", "testsparse_6.5.1_GLNX86"]
FILES += ["teststringarray_7.4_GLNX86", "testemptycell_7.1_GLNX86", "big_endian", "miuint32_for_miint32"]


def packed(variables: dict[str, Any]) -> bytes:
    file = BytesIO()
    savemat(file, variables, do_compression=True)
    return file.getvalue()


def plain(variables: dict[str, Any]) -> bytearray:
    file = BytesIO()
    savemat(file, variables)
    return bytearray(file.getvalue())


@pytest.mark.parametrize("name", FILES)
def test_what_matlab_wrote_is_read(name: str) -> None:
    path = OF_MATLAB / f"{name}.mat"
    for variable, value in loadmat(path).items():
        if not variable.startswith("__"):
            content = only(path.read_bytes(), variable)
            assert content is not None
            assert str(loadmat(BytesIO(content))[variable]) == str(value)


def test_only_the_variable_asked_for_is_taken() -> None:
    content = packed({"a": np.arange(6), "b": {"c": "text"}, "d": np.zeros(3)})
    assert only(content, "e") is None
    found = loadmat(BytesIO(only(content, "b") or b""))
    assert found["b"]["c"].item() == "text" and "a" not in found


@pytest.mark.parametrize(
    ("element", "value", "sentence"),
    [
        (lambda _: 136, 0x50, "an array without its header"),
        (lambda _: 144, 18, "an array of class 18"),
        (lambda content: content.index(b"Segmentation") - 8, 0xFF, "elements of another type or number"),
        # A type of numbers that there is not: scipy would end the process.
        (lambda content: content.index(struct.pack("<II", 2, 16)) + 1, 4, "elements of another type or number"),
    ],
)
def test_types_and_numbers_that_cannot_be(
    tmp_path: Path, element: Callable[[bytearray], int], value: int, sentence: str
) -> None:
    content = plain({"GTcls": {"Segmentation": np.zeros((4, 4), np.uint8)}})
    content[element(content)] = value
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.mat: this is no \.mat file .*{sentence}"):
        read_mat(tmp_path / "a.mat", "GTcls")


@pytest.mark.parametrize("save", [plain, packed])
def test_damage_never_ends_the_process(tmp_path: Path, save: Callable[[dict[str, Any]], bytes]) -> None:
    sound = save({"S": {"a": np.arange(12.0).reshape(3, 4), "b": np.array(["x", "yy"], dtype=object)}})
    path = tmp_path / "a.mat"
    draw = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        content = bytearray(sound)
        for place in draw.integers(126, len(content), draw.integers(1, 4)):
            content[place] = draw.integers(256)
        path.write_bytes(content)
        try:
            read_mat(path, "S")
        except InputError:
            refused += 1
    assert refused > 50


def test_what_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = packed({"a": np.zeros(1000)})
    assert only(content, "a")
    monkeypatch.setattr(mat_version5, "LARGEST", 4000)
    with pytest.raises(ValueError, match="unpacks to too much"):
        only(content, "a")
