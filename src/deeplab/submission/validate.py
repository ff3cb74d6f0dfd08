"""Refuse what a test server would refuse, before it is uploaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from deeplab.data.lists import read_list
from deeplab.data.palette import voc_palette
from deeplab.data.reading import decode_mask
from deeplab.errors import InputError
from deeplab.reporting.progress import progress_bar
from deeplab.submission.archives import read_archive
from deeplab.submission.formats import ServerFormat

Sizes = Mapping[str, tuple[int, int]]
"""(width, height) of pictures by id."""


@dataclass(frozen=True)
class Expected:
    """What has to be in the archive: so many pictures, these ids, pictures of these sizes; None is not known."""

    count: int
    ids: frozenset[str] | None = None
    sizes: Sizes | None = None


def expected(
    server: ServerFormat, ids: Path | None = None, images: Path | None = None, count: int | None = None
) -> Expected:
    """Work out what to expect from a list of ids, a folder of the test pictures, or the published number.

    Raises InputError for a list or folder that cannot be used.
    """
    names = None if ids is None else frozenset(entry.picture for entry in read_list(ids))
    sizes = None if images is None else _sizes(server, images)
    known = names if names is not None else None if sizes is None else frozenset(sizes)
    if count is None:
        count = server.count if known is None else len(known)
    return Expected(count, known, sizes)


def validate(archive: Path, server: ServerFormat, wanted: Expected, console: Console | None = None) -> list[str]:
    """Return a sentence for everything in an archive that the server would refuse, none if it is right.

    Looked at are the paths of the entries, their number, the kind of PNG, its palette, its values, and its size, where
    the format fixes it or the pictures are known. Raises InputError if the archive cannot be read.
    """
    problems: list[str] = []
    seen: set[str] = set()
    with progress_bar(console or Console(stderr=True)) as progress:
        bar = progress.add_task("validate", total=wanted.count, name="")
        for path, content in read_archive(archive):
            name = server.id_of_entry(path)
            if name is None:
                problems.append(f"{path}: the server expects {server.entry} and nothing else.")
            elif name in seen:
                problems.append(f"{path}: there are two files for {name}.")
            elif wanted.ids is not None and name not in wanted.ids:
                problems.append(f"{path}: {name} is none of the pictures asked for.")
            else:
                problems += [f"{path}: {problem}" for problem in _faults(content, name, server, wanted.sizes)]
            seen |= set() if name is None else {name}
            progress.advance(bar)
    if len(seen) != wanted.count:
        problems.append(f"there are {len(seen)} pictures, not {wanted.count}.")
    missing = sorted((wanted.ids or frozenset()) - seen)
    if missing:
        problems.append(f"{len(missing)} pictures are missing, such as {missing[0]}.")
    return problems


def photo_sizes(photos: Sequence[Path], server: ServerFormat) -> Sizes:
    """Return the sizes of photos by id.

    Raises InputError for a photo that cannot be opened, has a name or a size that the server does not know, or the id
    of another.
    """
    sizes: dict[str, tuple[int, int]] = {}
    for photo in photos:
        name = server.id_of(photo.name)
        if name in sizes:
            raise InputError(f"{photo}: another picture is called {name} too; put apart what does not belong together.")
        sizes[name] = _size(photo)
        if server.size not in (None, sizes[name]):
            raise InputError(f"{photo}: it is {_by(sizes[name])} pixels, the server wants {_by(server.size)}.")
    return sizes


def _sizes(server: ServerFormat, folder: Path) -> Sizes:
    if not folder.is_dir():
        raise InputError(f"images={folder}: there is no such folder.")
    photos = [path for path in sorted(folder.rglob("*")) if server.photo.match(path.name)]
    if not photos:
        raise InputError(f"images={folder}: there is no picture of {server.name} in it.")
    return photo_sizes(photos, server)


def _size(photo: Path) -> tuple[int, int]:
    try:
        with Image.open(photo) as image:
            return image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{photo}: this is no picture that can be read; replace the file.") from error


def _faults(content: bytes, name: str, server: ServerFormat, sizes: Sizes | None) -> list[str]:
    try:
        labels = decode_mask(np.frombuffer(content, dtype=np.uint8), name)
        Image.open(BytesIO(content)).verify()  # decoding alone takes a file whose end is missing
        with Image.open(BytesIO(content)) as image:
            kind, mode, size, palette = image.format, image.mode, image.size, image.getpalette() or []
    except (InputError, OSError, SyntaxError, ValueError):
        return ["this is no PNG of labels with 8 bits that can be read."]
    faults = []
    wanted_mode = "P" if server.indexed else "L"
    if kind != "PNG" or mode != wanted_mode:
        wanted = "an indexed PNG" if server.indexed else "a grey PNG of 8 bits"
        faults.append(f"the server wants {wanted}, this is {kind} of mode {mode}.")
    colours = voc_palette()[: len(server.values)].ravel().tolist()
    if server.indexed and mode == "P" and palette[: len(colours)] != colours:
        faults.append("its palette is not VOC's.")
    wrong = np.setdiff1d(labels, server.values)
    if wrong.size:
        hint = "; are these train ids?" if server.name == "cityscapes" and wrong.max() < 19 else ""
        faults.append(f"the value {wrong[0]} is no class of the server{hint}.")
    right_size = server.size if sizes is None else sizes.get(name, size)
    if right_size is not None and size != right_size:
        faults.append(f"it is {_by(size)} pixels, its picture {_by(right_size)}.")
    return faults


def _by(size: tuple[int, int] | None) -> str:
    return f"{size[0]}x{size[1]}" if size else "any size"
