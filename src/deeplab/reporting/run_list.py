"""Runs below a folder, as far as their files tell: how they stand, how good they are, in what they differ."""

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from deeplab.errors import InputError
from deeplab.reporting.liveness import is_alive
from deeplab.reporting.run_files import METRICS, RUN, is_number, is_step, read_json, read_run

DIED = "died"
NOT_BEGUN = "not begun"
# What overrides say of a run without making it another experiment.
NO_DIFFERENCE = ("name", "resume", "rerun_of")
_MISSING = object()


@dataclass(frozen=True)
class Run:
    """One run.

    `state` is that of run.json, but `died` for a run whose process is gone without having said so, and `not begun` for
    one that was refused before it wrote anything. `miou` and `miou_crf` are fractions of 1: the final scores, or, while
    `is_final` is false, the best validation so far; `with_scores` fills them in.
    """

    folder: Path
    state: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    miou: float | None = None
    miou_crf: float | None = None
    is_final: bool = False
    step: int | None = None
    started: datetime | None = None
    seconds: float | None = None
    """From the start to the end, or to the last sign of life."""

    @property
    def error(self) -> str | None:
        """The reason why it failed."""
        return self.facts.get("error")


@dataclass
class Found:
    """What lies below a folder: the runs, and a sentence for each folder that cannot be read."""

    runs: list[Run] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def find_runs(folder: Path) -> Found:
    """Read how all runs below `folder` and in itself stand, the oldest first; damaged ones are named, not fatal.

    Raises InputError if there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; name the one in which the runs lie.")
    found = Found()
    folders = _run_folders(folder, found.unreadable)
    found.runs = list(_tried(_read, ((each, each) for each in folders), found.unreadable))
    found.runs.sort(key=lambda run: (run.started.timestamp() if run.started else 0.0, str(run.folder)))
    return found


def with_scores(runs: Sequence[Run], unreadable: list[str]) -> list[Run]:
    """Read the scores of the runs, which takes most of the time; those whose files are damaged go to `unreadable`."""
    return list(_tried(_scored, ((run, run.folder) for run in runs), unreadable))


def _tried(read: Callable[[Any], Run], wanted: Iterable[tuple[Any, Path]], unreadable: list[str]) -> Iterator[Run]:
    for each, folder in wanted:
        try:
            yield read(each)
        except InputError as error:
            unreadable.append(str(error))
        except OSError as error:  # gone since, or a link to nowhere
            unreadable.append(f"Cannot read the run {folder}: {error.strerror}.")


def _run_folders(folder: Path, unreadable: list[str]) -> Iterator[Path]:
    """Folders of runs; nothing is looked for inside one."""
    try:
        with os.scandir(folder) as entries:
            here = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        unreadable.append(f"Cannot read the folder {folder}: {error.strerror}.")
        return
    names = {entry.name for entry in here}
    if RUN in names or {".hydra", "train.log"} <= names:
        yield folder
        return
    for entry in here:
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            yield from _run_folders(Path(entry.path), unreadable)


def _read(folder: Path) -> Run:
    path = folder / RUN
    if not path.exists():
        refused = datetime.fromtimestamp((folder / "train.log").stat().st_mtime).astimezone()
        return Run(folder, NOT_BEGUN, started=refused)
    facts = read_run(folder)
    started, touched = _time(facts.get("started"), path), path.stat().st_mtime
    state, seconds = facts["state"], facts.get("seconds")
    if state == "running":
        seconds = max(0.0, touched - started.timestamp()) if started else seconds
        if not is_alive(facts.get("process"), touched):
            state = DIED
        elif started:
            seconds = datetime.now().timestamp() - started.timestamp()
    return Run(folder, state, facts, started=started, seconds=seconds)


def _scored(run: Run) -> Run:
    if run.state == NOT_BEGUN:
        return run
    path = run.folder / METRICS
    if not path.exists():
        miou, miou_crf, step = _best_so_far(run.folder / "metrics.csv")
        return replace(run, miou=miou, miou_crf=miou_crf, step=step)
    document = read_json(path)
    for key in ("miou", "miou_crf"):
        if not (document.get(key) is None or is_number(document[key])):
            raise InputError(f"{path}: {key} is {str(document[key])[:40]!r}, expected a number.")
    miou, miou_crf = document.get("miou"), document.get("miou_crf")
    return replace(run, miou=miou, miou_crf=miou_crf, is_final=True, step=run.facts.get("steps"))


def _time(text: Any, path: Path) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: started={text!r} is no time.") from error


def _best_so_far(path: Path) -> tuple[float | None, float | None, int | None]:
    """The highest mIoU before and after the CRF in metrics.csv, and the last step; None for what it does not say."""
    if not path.is_file():
        return None, None, None
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = csv.reader(file)
        try:
            columns = next(rows, [])
            whole = [row for row in rows if len(row) == len(columns)]  # a kill may have cut off the last
        except csv.Error as error:
            raise InputError(f"{path} is no table of numbers ({error}).") from error
    before, after = (_highest(whole, columns, key) for key in ("val/miou", "val/miou_crf"))
    steps = [int(row[0]) for row in whole[-1:] if columns[:1] == ["step"] and is_step(row[0])]
    return before, after, steps[0] if steps else None


def _highest(rows: Sequence[Sequence[str]], columns: Sequence[str], key: str) -> float | None:
    if key not in columns:
        return None
    at = columns.index(key)
    return max((value for row in rows if (value := _fraction(row[at])) is not None), default=None)


def _fraction(text: str) -> float | None:
    """What a cell says; None for an empty one, `nan`, or what a crash left there."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


def by_folder(runs: Sequence[Run]) -> dict[Path, list[Run]]:
    """Runs of one sweep or of one name together: those whose folders lie in one; the group with the newest run last."""
    groups: dict[Path, list[Run]] = {}
    for run in reversed(runs):
        groups.setdefault(run.folder.parent, []).insert(0, run)
    return dict(reversed(groups.items()))


def what_differs(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return for each run the values, by key, in which the runs of this list differ.

    Keys are those of the overrides that some of them were given; a single run differs by all of its own but its
    experiment, after which its folder is called.
    """
    keys = dict.fromkeys(key for run in runs for key in _override_keys(run))
    values = {key: [_value(run, key) for run in runs] for key in keys}
    alone = len(runs) == 1
    differing = {
        key: each
        for key, each in values.items()
        if (alone and key != "experiment") or any(value != each[0] for value in each)
    }
    return [
        {key: each[number] for key, each in differing.items() if each[number] is not _MISSING}
        for number in range(len(runs))
    ]


def _override_keys(run: Run) -> Iterator[str]:
    for override in run.facts.get("overrides") or ():
        key = override.partition("=")[0].lstrip("+~")
        if key not in NO_DIFFERENCE and not key.startswith(("hydra", "logger")):
            yield key


def _value(run: Run, key: str) -> Any:
    """A run's value of a key of overrides: a group's choice or a value of the configuration."""
    choices = run.facts.get("choices") or {}
    if key in choices:
        return choices[key]
    node: Any = run.facts.get("config", {})
    for name in key.split("."):
        if not isinstance(node, Mapping) or name not in node:
            return _MISSING
        node = node[name]
    return node
