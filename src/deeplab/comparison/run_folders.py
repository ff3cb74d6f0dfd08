"""Finds the run folders below the paths that a user names."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from deeplab.errors import InputError
from deeplab.reporting.run_files import METRICS, RUN

HYDRA = ".hydra"
# The record of a CRF search is a run's, but it is no run to compare.
OTHER_RECORDS = ("search.json",)
DEEPEST = 4


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Return the run folders that the paths are or hold, in the order of the paths, numbered ones by number.

    A folder met twice counts once.

    Raises InputError for a path that does not exist or holds no run.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: there is no such folder; give the folders of runs or of sweeps.")
        if not path.is_dir():
            raise InputError(f"{path} is a file; give the run's folder, the one that holds {METRICS}.")
        here = list(_walk(path, 0))
        if not here:
            raise InputError(f"{path} holds no run: neither it nor a folder in it has {METRICS} or {RUN}.")
        for folder in here:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def is_run(folder: Path) -> bool:
    """Whether `deeplab train` or `deeplab evaluate` wrote into this folder."""
    return any((folder / name).exists() for name in (METRICS, RUN, HYDRA))


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    if any((folder / name).exists() for name in OTHER_RECORDS):
        return
    if is_run(folder):
        yield folder
        return
    if depth == DEEPEST:
        return
    with os.scandir(folder) as entries:
        children = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    for name in sorted(children, key=_by_number):
        yield from _walk(folder / name, depth + 1)


def _by_number(name: str) -> tuple[bool, int, str]:
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)
