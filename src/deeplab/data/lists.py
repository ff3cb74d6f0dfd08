"""Lists of pictures: files that name them, and shares drawn from them."""

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from deeplab.data.reading import PICTURE_SUFFIXES
from deeplab.errors import InputError

HELD_OUT = "held_out"

_LONGEST = 250  # bytes of a name: file systems take 255, and an id gets a suffix

_SUFFIX = "(?:" + "|".join(re.escape(suffix) for suffix in PICTURE_SUFFIXES) + ")"
_PAIR = re.compile(rf"^(?P<image>.+?{_SUFFIX})\s+(?P<mask>\S.*)$", re.IGNORECASE)
_PICTURE = re.compile(rf"^(?P<name>.+){_SUFFIX}$", re.IGNORECASE)


@dataclass(frozen=True)
class ListEntry:
    """A line of a list: the path or id of a picture, and the path of its mask where the line has one."""

    where: str
    picture: str
    mask: str | None = None


def read_list(path: Path) -> list[ListEntry]:
    """Read a list of pictures, one a line: an id, or a picture and a mask path (`/JPEGImages/x.jpg /Masks/x.png`).

    Blank lines are skipped, a last line without a newline counts; names may hold spaces. Paths lose their leading
    slash, being relative to the data set's root. Raises InputError for a list that is missing, empty, not UTF-8,
    names a picture twice, leads out of the root by `..`, or holds what can be no path.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such list of pictures; check data.root and the split.") from error
    except OSError as error:
        raise InputError(f"{path}: the list cannot be read ({error.strerror}); check its permissions.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the list is no UTF-8 text; save it as UTF-8.") from error
    entries = [
        _entry(line.strip(), f"{path}, line {number}")
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip()
    ]
    if not entries:
        raise InputError(f"{path}: the list names no picture; fill it or choose another split.")
    _refuse_duplicates(entries)
    return entries


def is_list_file(split: str) -> bool:
    """Tell whether a split is the path of a user's own list (it ends in .txt) and not the name of a split."""
    return split.lower().endswith(".txt")


def hold_out(ids: Sequence[str], count: int, seed: int) -> list[str]:
    """Choose `count` ids that training leaves out: the first of a seeded permutation of the sorted ids.

    The choice depends on the set of ids, not on their order. Raises InputError unless at least one id is left.
    """
    if not 0 <= count < len(ids):
        raise InputError(f"data.hold_out={count}: it must be at least 0 and leave some of the {len(ids)} pictures.")
    in_order = sorted(ids)
    return [in_order[i] for i in np.random.default_rng(seed).permutation(len(in_order))[:count]]


def without_suffix(path: str) -> str:
    """Take the suffix of a picture file off, and nothing else: `a/x.v2.jpg` and `a/x.v2` are both `a/x.v2`."""
    picture = _PICTURE.match(path)
    return picture["name"] if picture else path


def _entry(line: str, where: str) -> ListEntry:
    pair = _PAIR.match(line)
    paths = [path.lstrip("/") for path in ((pair["image"], pair["mask"]) if pair else (line,))]
    if any(".." in PurePosixPath(path).parts for path in paths):
        raise InputError(f"{where}: {line} points out of the data set's folder; write paths below data.root.")
    if "\0" in line or any(len(part.encode()) > _LONGEST for path in paths for part in PurePosixPath(path).parts):
        raise InputError(f"{where}: {line[:40]!r}... can be no path of a file; this is no list of pictures.")
    return ListEntry(where, *paths)


def _refuse_duplicates(entries: Sequence[ListEntry]) -> None:
    seen: set[str] = set()
    for entry in entries:
        picture = posixpath.normpath(entry.picture)
        if picture in seen:
            raise InputError(f"{entry.where}: {entry.picture} is listed a second time; remove one of the two lines.")
        seen.add(picture)
