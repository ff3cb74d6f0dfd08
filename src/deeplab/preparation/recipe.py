"""What the recipes of all data sets share: where they work and what they may use."""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deeplab.data.lists import read_list, without_suffix
from deeplab.errors import InputError
from deeplab.preparation.masks import MaskWriter
from deeplab.preparation.obtaining import Obtaining
from deeplab.preparation.originals import Original
from deeplab.reporting.writing import replacing


@dataclass(frozen=True)
class Kitchen:
    """The root of the data set, how originals are obtained, how masks are written."""

    root: Path
    obtain: Obtaining
    writer: MaskWriter

    def need(self, original: Original) -> Path:
        """Return where a required original lies; raises InputError if it cannot be had."""
        assert original.required
        place = self.obtain(original)
        assert place is not None
        return place


def files(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a folder and its sub-folders that match, sorted, without hidden ones.

    Raises InputError if there are none, or two of one name, for whose mask there is one place.
    """
    found = sorted(path for path in folder.rglob(pattern) if not path.name.startswith("."))
    if not found:
        raise InputError(f"{folder}: there is no {pattern} in it; the data set is incomplete, get it again.")
    names: dict[str, Path] = {}
    for path in found:
        if names.setdefault(path.stem, path) is not path:
            raise InputError(f"{path}: {names[path.stem]} has the same name; leave one of the two.")
    return found


def read_ids(path: Path) -> list[str]:
    """Return the ids of a list, whose lines are ids or paths of pictures (`/JPEGImages/x.jpg ...`)."""
    return [without_suffix(entry.picture).rpartition("/")[2] for entry in read_list(path)]


def write_list(path: Path, ids: Iterable[str], overwrite: bool) -> str:
    """Write a list of ids unless it is there, or there are none; return a sentence on it."""
    if path.is_file() and not overwrite:
        return f"{path.name} was there."
    names = list(ids)
    if not names:
        return f"{path.name} is not written: no picture of it has an annotation."
    with replacing(path) as file:
        file.write("".join(f"{name}\n" for name in names).encode())
    return f"{path.name}: {len(names)} pictures."


def link_pictures(source: Path, target: Path, ids: Iterable[str]) -> str:
    """Give JPEGs of `source` a second name in `target`, or copies of them where the file system has no links."""
    made = 0
    for name in ids:
        here, there = source / f"{name}.jpg", target / f"{name}.jpg"
        if there.exists() or not here.is_file():
            continue
        try:
            target.mkdir(parents=True, exist_ok=True)
            try:
                os.link(here, there)
            except OSError:
                part = there.with_name(f".{there.name}.part")
                shutil.copyfile(here, part)
                part.replace(there)
        except OSError as error:
            raise InputError(f"Cannot write {there}: {error.strerror}; free or choose another place.") from error
        made += 1
    return f"{made} pictures linked into {target.name}."
