"""Finds the run folders below the paths that a user names."""

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
    try:
        if any((folder / name).exists() for name in OTHER_RECORDS):
            return
        here = is_run(folder)
        # A link to itself is no folder for is_dir, and no error.
        children = [] if here else [path.name for path in folder.iterdir() if path.is_dir()]
    except OSError as error:
        raise InputError(f"Cannot read the folder {folder}: {error.strerror}; leave it out or open it.") from error
    if here:
        yield folder
    elif depth < DEEPEST:
        for name in sorted((name for name in children if not name.startswith(".")), key=_by_number):
            yield from _walk(folder / name, depth + 1)


def _by_number(name: str) -> tuple[bool, int, str]:
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)
