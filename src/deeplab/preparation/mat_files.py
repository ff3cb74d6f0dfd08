"""MATLAB files of both formats as plain Python: version 5 to 7 by scipy, version 7.3 (HDF5) by h5py.

Structs become dicts, arrays of structs and cells lists, text str, numbers arrays (H, W) as MATLAB shows them. Neither
format can carry code that reading would run; links of HDF5 to other files are refused.
"""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from deeplab.errors import InputError
from deeplab.preparation.mat_version5 import DEEPEST, LARGEST, only

_DAMAGED = (
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    NotImplementedError,
    OSError,
    EOFError,
    struct.error,
    zlib.error,
)


def read_mat(path: Path, variable: str) -> Any:
    """Read one variable of a .mat file.

    Raises InputError for a file that is missing, damaged or of another kind, or lacks the variable.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file.")
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                found = variable in file
                value = _from_hdf5(file, _member(file, variable)) if found else None
        else:
            content = only(path.read_bytes(), variable)
            found = content is not None
            value = _from_scipy(loadmat(BytesIO(content), chars_as_strings=True)[variable]) if content else None
    except InputError:
        raise
    except (MatReadError, *_DAMAGED) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: this is no .mat file that can be read, or it breaks off ({reason}).") from error
    if not found:
        raise InputError(f"{path}: the variable {variable} is not in this file; it belongs to another data set.")
    return value


def field(value: Any, name: str, path: Path) -> Any:
    """Return a field of a struct; raises InputError naming the file if it is none or lacks the field."""
    if not isinstance(value, dict) or name not in value:
        raise InputError(f"{path}: the field {name} is missing; the file belongs to another data set.")
    return value[name]


def items(value: Any) -> list[Any]:
    """Return an array of structs as a list: MATLAB makes no difference between one struct and an array of one."""
    return value if isinstance(value, list) else [] if isinstance(value, np.ndarray) and not value.size else [value]


def label_map(value: Any, largest: int, path: Path) -> npt.NDArray[np.int64]:
    """Return labels int64 (H, W); raises InputError for another shape or values outside 0..largest."""
    if not isinstance(value, np.ndarray) or value.ndim != 2 or not value.size or value.dtype.kind not in "uifb":
        shape = value.shape if isinstance(value, np.ndarray) else type(value).__name__
        raise InputError(f"{path}: the labels are no picture of numbers (height, width) but {shape}.")
    labels = value.astype(np.int64)
    if (labels != value).any() or labels.min() < 0 or labels.max() > largest:
        raise InputError(
            f"{path}: its labels reach from {value.min()} to {value.max()}; they must be whole, 0 to {largest}."
        )
    return labels


def _from_scipy(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value  # sparse matrices
    if value.dtype.names:
        structs = [{name: _from_scipy(each[name]) for name in value.dtype.names} for each in value.ravel(order="F")]
        return structs[0] if len(structs) == 1 else structs
    if value.dtype == object:
        return [_from_scipy(each) for each in value.ravel(order="F")]
    return "".join(value.ravel()) if value.dtype.kind == "U" else value


def _from_hdf5(file: h5py.File, node: h5py.Group | h5py.Dataset | h5py.Datatype, depth: int = 0) -> Any:
    if depth > DEEPEST:
        raise ValueError("structs that lead into themselves")
    if isinstance(node, h5py.Group):
        return _struct(file, {name: _member(node, name) for name in node}, depth)
    if not isinstance(node, h5py.Dataset):
        raise ValueError("a type stands where a value has to be")
    if node.attrs.get("MATLAB_empty", 0):
        return np.zeros((0, 0))
    if node.is_virtual or node.external:
        raise ValueError("its data lie in other files")
    if node.nbytes > LARGEST:
        raise ValueError(f"{node.nbytes} bytes are more than an annotation has")
    kind = node.attrs.get("MATLAB_class", b"")
    if node.dtype == h5py.ref_dtype:
        return [_from_hdf5(file, file[reference], depth + 1) for reference in np.asarray(node).T.ravel(order="F")]
    if kind == b"char":
        return "".join(map(chr, np.asarray(node).T.ravel(order="F")))
    return np.asarray(node).T  # HDF5 counts rows first, MATLAB columns


def _struct(file: h5py.File, members: dict[str, Any], depth: int) -> Any:
    # An array of structs has one reference an element in each field; a cell, which looks alike, is marked as such.
    columns = [
        isinstance(each, h5py.Dataset) and each.dtype == h5py.ref_dtype and "MATLAB_class" not in each.attrs
        for each in members.values()
    ]
    values = {name: _from_hdf5(file, each, depth + 1) for name, each in members.items()}
    if not columns or not all(columns):
        return values
    structs = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return structs[0] if len(structs) == 1 else structs


def _member(group: h5py.Group, name: str) -> Any:
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError("its data lie in other files")
    return group[name]
