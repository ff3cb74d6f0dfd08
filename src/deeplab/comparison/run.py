"""One run as its folder tells it; whatever is missing or damaged becomes a sentence, never an exception."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deeplab.comparison.configuration import read_choices, read_config
from deeplab.errors import InputError
from deeplab.metrics.scores import mean_iou
from deeplab.reporting.liveness import is_alive
from deeplab.reporting.run_files import (
    METRICS,
    PER_PICTURE,
    RUN,
    PerPicture,
    is_number,
    read_json,
    read_per_picture,
    read_run,
)

Plain = dict[str, Any]
# The state of a run whose run.json is damaged: it may have failed, so it does not count.
UNREADABLE = "unreadable"
# metrics.json holds float64 of the same counts; anything beyond rounding is another evaluation.
TOLERANCE = 1e-6
FEW_STEPS = 100  # a process that trains more has a speed


@dataclass
class Run:
    """What a run's folder holds.

    `state` is that of run.json, `unknown` without one, `unreadable` if it is damaged; `problems` says in sentences what
    is missing or does not fit.
    `pictures` is None where the matrices a picture are missing or contradict `metrics`.
    """

    folder: Path
    name: str
    state: str = "unknown"
    config: Plain | None = None
    choices: dict[str, str] = field(default_factory=dict)
    record: Plain = field(default_factory=dict)
    metrics: Plain | None = None
    pictures: PerPicture | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def seed(self) -> int | None:
        """The seed of the training, None if no file says it."""
        seed = (self.config or {}).get("seed", self.record.get("seed"))
        return seed if isinstance(seed, int) else None

    @property
    def is_scored(self) -> bool:
        """Whether it can be compared: it ended well and has its numbers."""
        return self.metrics is not None and self.state in ("finished", "unknown")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the matrices."""
        return tuple((self.metrics or {}).get("iou") or ())

    @property
    def split(self) -> str:
        """The split that was scored."""
        scored = (self.metrics or {}).get("split")
        return str(scored or self.data.get("val_split", "unknown"))

    @property
    def data(self) -> Plain:
        """The configuration's section `data`."""
        section = (self.config or {}).get("data")
        return section if isinstance(section, dict) else {}

    def matrices(self, refined: bool) -> npt.NDArray[np.int32] | None:
        """The matrices (N, K, K) before or after the CRF; a picture that the CRF left out counts as it was."""
        if self.pictures is None or not refined:
            return None if self.pictures is None else self.pictures.confusion
        after = self.pictures.confusion_crf
        if after is None:
            return None
        left_out = after.min(axis=(1, 2), keepdims=True) < 0
        return np.where(left_out, self.pictures.confusion, after)


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read run folders; their names are what tells their paths apart."""
    names = short_names(folders)
    return [read(folder, name) for folder, name in zip(folders, names, strict=True)]


def read(folder: Path, name: str) -> Run:
    """Read one run's folder."""
    run = Run(folder, name)
    run.metrics = _tried(run, lambda: read_json(folder / METRICS), folder / METRICS)
    told = len(run.problems)
    run.record = _tried(run, lambda: read_run(folder), folder / RUN) or {}
    run.state = str(run.record.get("state", UNREADABLE if run.problems[told:] else "unknown"))
    run.choices = read_choices(folder)
    carried = (run.metrics or {}).get("config")
    run.config = carried if isinstance(carried, dict) else _tried(run, lambda: read_config(folder), folder)
    if run.metrics is not None and not _has_scores(run.metrics):
        run.problems.append(f"{METRICS} lacks mIoU or the IoU of classes")
        run.metrics = None
    if run.metrics is not None:
        _drop_odd_values(run, run.metrics)
        run.pictures = _tried(run, lambda: read_per_picture(folder / PER_PICTURE), folder / PER_PICTURE)
        _check_pictures(run)
    _say_state(run)
    _say_cost(run)
    return run


def _tried(run: Run, read_it: Any, path: Path) -> Any:
    """What `read_it` returns; None if there is no such file, or if it is damaged, which is then said."""
    if not path.exists():
        return None
    try:
        return read_it()
    except InputError as error:
        run.problems.append(str(error).replace(f"{run.folder}/", "").rstrip("."))
        return None


def _drop_odd_values(run: Run, metrics: Plain) -> None:
    """Leave out, and name, what is of no use to any view; the scores and the matrices are whole without it."""
    for key, fits in _FITS.items():
        if metrics.get(key) is not None and not fits(metrics[key]):
            metrics[key] = None
            run.problems.append(f"{METRICS} has an odd {key}, which is left out")


def _is_paper(value: Any) -> bool:
    return isinstance(value, dict) and all(
        value.get(key) is None or _is_score(value[key]) for key in ("miou", "miou_crf")
    )


def _is_band(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("width"), list):
        return False
    curves = [value[key] for key in ("miou", "miou_crf") if value.get(key) is not None]
    return all(map(is_number, value["width"])) and all(
        isinstance(curve, list)
        and len(curve) == len(value["width"])
        and all(score is None or _is_score(score) for score in curve)
        for curve in curves
    )


def _has_scores(metrics: Plain) -> bool:
    before, after = metrics.get("iou"), metrics.get("iou_crf")
    if not _is_score(metrics.get("miou")) or not isinstance(before, dict) or not before:
        return False
    mious = [metrics.get("miou_crf"), *before.values(), *(after.values() if isinstance(after, dict) else ())]
    if not all(value is None or _is_score(value) for value in mious):
        return False
    return after is None or (isinstance(after, dict) and list(after) == list(before))


def _is_score(value: Any) -> bool:
    return is_number(value) and bool(0 <= value <= 1)


_ACCURACIES = ("pixel_accuracy", "pixel_accuracy_crf", "boundary_miou", "boundary_miou_crf")
_FITS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(_ACCURACIES, _is_score),
    **dict.fromkeys(("num_images", "seconds"), is_number),
    **dict.fromkeys(("trimap", "class_edges"), _is_band),
    "paper": _is_paper,
    "split": lambda value: isinstance(value, str),
}


def _check_pictures(run: Run) -> None:
    """Drop matrices that are not those behind the scores."""
    assert run.metrics is not None
    if run.pictures is None:
        if not (run.folder / PER_PICTURE).exists():
            run.problems.append(f"there is no {PER_PICTURE}, so its scores have no interval")
        return
    K, ids = run.pictures.confusion.shape[-1], run.pictures.ids
    wrong = None
    if len(run.class_names) != K:
        wrong = f"{PER_PICTURE} has {K} classes, {METRICS} {len(run.class_names)}"
    elif len(set(ids)) < len(ids):
        wrong = f"{PER_PICTURE} names a picture twice"
    else:
        for key, refined in (("miou", False), ("miou_crf", True)):
            matrices, told = run.matrices(refined), run.metrics.get(key)
            again = None if matrices is None else float(mean_iou(matrices.sum(0, dtype=np.int64)))
            fits = told is again if told is None or again is None else abs(again - told) <= TOLERANCE
            if not fits:
                wrong = f"{METRICS} has {key}={told}, the matrices of {PER_PICTURE} give {again}"
                break
    if wrong is not None:
        run.problems.append(f"{wrong}: the files are of two evaluations, so the run is not compared; evaluate it again")
        run.pictures = None


def _say_state(run: Run) -> None:
    state = run.state
    if state == "failed":
        run.problems.append(f"it failed: {run.record.get('error', 'run.json does not say why')}".rstrip("."))
    elif state == "running":
        alive = is_alive(run.record.get("process"), (run.folder / RUN).stat().st_mtime)
        run.problems.append("it is still running" if alive else f"it died without a word; resume={run.folder} goes on")
    elif state == "preempted":
        run.problems.append("it was preempted and not resumed to its end")
    elif state == UNREADABLE:
        run.problems.append(f"whether it ended well is not known, so it does not count; without any {RUN} it would")
    elif run.metrics is None and not any(METRICS in problem for problem in run.problems):
        run.problems.append(f"it has no {METRICS}: it was not evaluated (evaluate=none?)")


def _say_cost(run: Run) -> None:
    """Say where the time is not that of the training, as in records of runs that were trained, and scored later."""
    no_speed = run.record.get("images_per_second", 0) is None and (run.record.get("steps") or 0) > FEW_STEPS
    if no_speed and run.metrics is not None:
        run.problems.append("time and memory are without the training")


def started(run: Run) -> str:
    """When the run began, for choosing the newest; by its record, else by its files."""
    told = run.record.get("started")
    if isinstance(told, str):
        return told
    times = [path.stat().st_mtime for path in (run.folder / METRICS, run.folder) if path.exists()]
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(max(times)))


def short_names(folders: Sequence[Path]) -> list[str]:
    """The ends of paths that tell them apart: `aspp/0`, `aspp/1`; the whole path where nothing shorter does."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(2, max(map(len, parts), default=2)):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder.resolve()) for folder in folders]
