"""The files of a run's folder that other tools read: `metrics.json`, `run.json`, `per_picture.npz`.

All are written whole or not at all. Scores are fractions of 1; null stands for what was not measured.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import numpy.typing as npt

import deeplab
from deeplab.errors import InputError
from deeplab.inference.damaged_arrays import DAMAGED
from deeplab.metrics.scores import scores
from deeplab.metrics.sparse_counts import SparseCounts
from deeplab.reporting.environment import git
from deeplab.reporting.writing import replacing

METRICS = "metrics.json"
RUN = "run.json"
PER_PICTURE = "per_picture.npz"
# In the folder CHECKPOINTS: of the best validation score, of the last step, and the one that LAST has replaced.
CHECKPOINTS = "checkpoints"
BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "previous.ckpt"

STATES = ("running", "finished", "failed", "preempted")

_NUMBER = (int, float)
_LARGE = 1e15  # more seconds, bytes and steps than anything has
_FACTS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(("seconds", "seconds_before", "images_per_second", "peak_memory"), (_NUMBER, "a number")),
    **dict.fromkeys(("steps", "seed"), (int, "a whole number")),
    **dict.fromkeys(("device", "commit", "error"), (str, "a text")),
    **dict.fromkeys(("choices", "config", "process"), (dict, "an object")),
    "overrides": (list, "a list"),
}

Counts = npt.NDArray[np.integer] | SparseCounts


@cache
def code_version() -> dict[str, Any]:
    """Return the package's version, and the git commit and whether files differ from it if it runs from a checkout."""
    here = Path(__file__).resolve()
    commit = modified = None
    # Tracked, so that an installation inside somebody else's repository does not pass off that one's commit as ours.
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is not None:
        commit = _git(here.parent, "rev-parse", "HEAD")
        status = _git(here.parent, "status", "--porcelain", "--untracked-files=no")
        modified = None if status is None else bool(status)
    return {"deeplab": deeplab.__version__, "commit": commit, "modified": modified}


def _git(folder: Path, *arguments: str) -> str | None:
    printed = git(folder, *arguments)
    return None if printed is None else printed.strip()


def metrics_document(
    matrix: Any,
    matrix_crf: Any | None,
    *,
    class_names: Sequence[str],
    num_images: int,
    num_skipped: int,
    num_crf_skipped: int,
    config: Mapping[str, Any],
    seconds: float,
    paper: Mapping[str, Any] | None = None,
    boundary: Mapping[str, Any] | None = None,
    split: str | None = None,
) -> dict[str, Any]:
    """Return the content of `metrics.json` from the confusion matrices (K, K) before and after the CRF.

    Args:
        matrix_crf: None if no CRF ran.
        num_images: pictures that were scored.
        num_skipped: pictures that could not be read, not among them.
        num_crf_skipped: pictures among them whose prediction stands unrefined in `matrix_crf`.
        config: the resolved configuration, plain values.
        paper: `{table, row, miou, miou_crf}` of the experiment, as fractions of 1.
        boundary: what `boundary_document` made.
        split: the split's name.

    Raises:
        InputError: class names are not K different ones, or the paper's numbers are no fractions.
    """
    before = scores(matrix)
    if len(class_names) != len(before["iou"]) or len(set(class_names)) != len(class_names):
        raise InputError(
            f"data.class_names={list(class_names)}: the network has {len(before['iou'])} classes, "
            "give each a name of its own."
        )
    after = None if matrix_crf is None else scores(matrix_crf)
    document: dict[str, Any] = {}
    for key, value in before.items():
        refined = None if after is None else dict(after)[key]
        document[key] = _by_name(class_names, value) if key == "iou" else value
        document[f"{key}_crf"] = _by_name(class_names, refined) if key == "iou" and refined is not None else refined
    document |= dict(boundary or {})
    document |= {
        "split": split,
        "num_images": num_images,
        "num_skipped": num_skipped,
        "num_crf_skipped": num_crf_skipped,
    }
    if paper is not None:
        document["paper"] = _checked_paper(paper)
    return document | {"seconds": seconds, "version": code_version(), "config": dict(config)}


def _by_name(class_names: Sequence[str], values: Any) -> dict[str, float | None]:
    return dict(zip(class_names, values, strict=True))


def _checked_paper(paper: Mapping[str, Any]) -> dict[str, Any]:
    for key in ("miou", "miou_crf"):
        value = paper.get(key)
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"paper.{key}={value}: write the paper's percentage as a fraction of 1.")
    return dict(paper)


def read_run(folder: Path) -> dict[str, Any]:
    """Read `run.json`, how a run stands and what it ran on.

    Raises InputError if it is missing, unreadable, or has no known state.
    """
    document = read_json(folder / RUN)
    if document.get("state") not in STATES:
        raise InputError(f"{folder / RUN}: state is {document.get('state')!r}, expected one of {STATES}.")
    for key, (kind, name) in _FACTS.items():
        value = document.get(key)
        if value is not None and not isinstance(value, kind):
            raise InputError(f"{folder / RUN}: {key} is {str(value)[:40]!r}, expected {name}.")
        if kind in (_NUMBER, int) and value is not None and not 0 <= value < _LARGE:
            raise InputError(f"{folder / RUN}: {key} is {str(value)[:40]}, expected a number from 0 to {_LARGE:g}.")
    if not all(isinstance(override, str) for override in document.get("overrides") or ()):
        raise InputError(f"{folder / RUN}: overrides are not all texts.")
    return document


def read_run_if_any(folder: Path) -> dict[str, Any]:
    """Return what `run.json` says, nothing where there is none that can be read."""
    try:
        return read_run(folder)
    except InputError:
        return {}


def is_of_training(record: Mapping[str, Any]) -> bool:
    """Whether what `run.json` says is of `deeplab train`: no other command writes down how it optimizes."""
    return "optim" in (record.get("config") or {})


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all.

    Raises InputError if it cannot be written, ValueError for NaN or infinity, which JSON does not have.
    """
    with replacing(path) as file:
        file.write(json_text(document).encode())


def json_text(document: Mapping[str, Any]) -> str:
    """Return what `write_json` writes."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises InputError if the file is missing, unreadable or holds something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_float=_finite, parse_constant=_finite)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:  # bad JSON, bytes that are not UTF-8, or brackets without end
        raise InputError(f"{path} is not valid JSON ({error}); {_remedy(path)}.") from error
    if not isinstance(document, dict):
        raise InputError(f"{path} holds no JSON object; {_remedy(path)}.")
    return document


def _remedy(path: Path) -> str:
    """What brings a damaged file back; what no later command writes anew has to come from a copy."""
    return "run the evaluation again" if path.name == METRICS else "put back a copy of it"


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a number of sensible size; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGE


def is_step(text: str) -> bool:
    """Whether a cell of metrics.csv is a step; int() would take other scripts' digits, and thousands of them."""
    return re.fullmatch("[0-9]{1,15}", text) is not None


def _finite(text: str) -> float:
    value = float(text)  # NaN and Infinity, which json would take, and 1e999
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number in JSON")
    return value


@dataclass(frozen=True)
class PerPicture:
    """The content of `per_picture.npz`: a confusion matrix for each picture, rows = truth.

    `confusion_crf` is None if no CRF ran; for a picture that the CRF left out, its matrix is all -1.
    """

    ids: list[str]
    confusion: npt.NDArray[np.int32]
    confusion_crf: npt.NDArray[np.int32] | None = None


def write_per_picture(
    path: Path, ids: Sequence[str], confusion: Sequence[Counts], confusion_crf: Sequence[Counts | None] | None = None
) -> None:
    """Write `per_picture.npz` from matrices (K, K), compressed: int32 (N, K, K), ids in the same order.

    Raises InputError if it cannot be written, ValueError if the lengths differ or nothing is given.
    """
    if not ids or len(ids) != len(confusion) or (confusion_crf is not None and len(confusion_crf) != len(ids)):
        raise ValueError(f"{len(ids)} ids need as many matrices, before and after the CRF.")
    with replacing(path) as file, ZipFile(file, "w", ZIP_DEFLATED) as archive:
        with archive.open("ids.npy", "w") as member:
            np.lib.format.write_array(member, np.array(ids, dtype=np.str_), allow_pickle=False)
        for name, matrices in (("confusion", confusion), ("confusion_crf", confusion_crf)):
            if matrices is not None:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    _write_matrices(member, matrices, np.asarray(confusion[0]).shape)


def _write_matrices(file: IO[bytes], matrices: Sequence[Counts | None], shape: tuple[int, ...]) -> None:
    """Write an array (N, K, K) matrix by matrix: as one, those of thousands of pictures need gigabytes."""
    header = {"descr": "<i4", "fortran_order": False, "shape": (len(matrices), *shape)}
    np.lib.format.write_array_header_1_0(file, header)
    for matrix in matrices:
        whole = np.full(shape, -1) if matrix is None else np.asarray(matrix)
        if whole.shape != shape:
            raise ValueError(f"a matrix of shape {whole.shape} among those of shape {shape}.")
        file.write(whole.astype("<i4").tobytes())


def read_per_picture(path: Path) -> PerPicture:
    """Read `per_picture.npz`.

    Raises InputError if it is missing, damaged, or not such a file.
    """
    try:
        with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as arrays:
            refined = arrays.get("confusion_crf")
            record = PerPicture([str(name) for name in arrays["ids"].reshape(-1)], arrays["confusion"], refined)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    except DAMAGED as error:
        raise InputError(f"{path} is no file of confusion matrices ({error}); run the evaluation again.") from error
    shape = (len(record.ids), *record.confusion.shape[1:2] * 2)
    matrices = [array for array in (record.confusion, record.confusion_crf) if array is not None]
    if any(array.shape != shape or not len(array) for array in matrices):
        raise InputError(f"{path} holds arrays that do not fit together; run the evaluation again.")
    if not all(np.issubdtype(array.dtype, np.integer) for array in matrices) or (record.confusion < 0).any():
        raise InputError(f"{path} holds something else than counts of pixels; run the evaluation again.")
    return record
