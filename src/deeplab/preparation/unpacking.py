"""Unpack an archive of pictures so that nothing leaves its folder and nothing half-unpacked passes for whole."""

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from rich.console import Console
from rich.markup import escape

from deeplab.errors import InputError
from deeplab.reporting.progress import progress_bar

_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError, NotImplementedError, RuntimeError)

Entry = tuple[str, int, IO[bytes]]
"""Name, size and content of a packed file."""


def unfinished(archive: str, target: Path) -> Path:
    """Return the folder that is there while an archive is unpacked into `target`, and after that was interrupted."""
    return target / f".unpacking-{archive}"


def unpack(archive: Path, target: Path, strip: str = "", console: Console | None = None) -> int:
    """Unpack a zip or tar file into `target` and return the number of files; entries lose the leading folder `strip`.

    Everything is written into a hidden folder first and moved when the archive was read to its end; until the last file
    is in its place, `unfinished` is there. Files that macOS adds are left out.

    Raises InputError for an archive that is damaged, or holds links, devices, or paths that lead out of `target`; then
    nothing is moved. Also if `target` cannot be written.
    """
    staging = unfinished(archive.name, target)
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
    except OSError as error:
        raise _no_place(target, error) from error
    done = False
    try:
        count = _unpack_all(archive, staging, strip, console or Console(stderr=True))
        done = True
    finally:
        if not done:
            shutil.rmtree(staging, ignore_errors=True)
    try:
        _merge(staging, target)
        shutil.rmtree(staging)
    except OSError as error:
        raise _no_place(target, error) from error
    return count


def _unpack_all(archive: Path, staging: Path, strip: str, console: Console) -> int:
    count = 0
    with progress_bar(console) as progress:
        bar = progress.add_task(f"unpack {escape(archive.name)}", total=None, name="")
        try:
            for name, size, content in _entries(archive, staging):
                place = _place(archive, name, strip)
                if place is None:
                    continue
                _write(staging / place, size, content)
                count += 1
                progress.update(bar, completed=count, name=escape(place.name))
        except _DAMAGED as error:
            raise InputError(f"{archive}: {_what(error)}; get the file again.") from error
        except FileNotFoundError as error:
            raise InputError(f"{archive}: there is no such file.") from error
        except OSError as error:  # gzip and bz2 report damage so
            raise InputError(f"{archive}: the archive cannot be read ({error}); get the file again.") from error
    if not count:
        raise InputError(f"{archive}: the archive is empty; get the file again.")
    return count


def _entries(archive: Path, staging: Path) -> Iterator[Entry]:
    if zipfile.is_zipfile(archive):
        yield from _zip_entries(archive, shutil.disk_usage(staging).free)
    else:
        yield from _tar_entries(archive)


def _zip_entries(archive: Path, free: int) -> Iterator[Entry]:
    with zipfile.ZipFile(archive) as packed:
        members = packed.infolist()
        wanted = sum(each.file_size for each in members)
        if wanted > free:
            raise InputError(
                f"{archive}: unpacked it takes {wanted} bytes, {free} are free; free or choose another place."
            )
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.is_dir():
                _place(archive, member.filename, "")
            elif kind not in (0, stat.S_IFREG):
                raise _no_file(archive, member.filename)
            else:
                with packed.open(member) as content:
                    yield member.filename, member.file_size, content


def _tar_entries(archive: Path) -> Iterator[Entry]:
    with tarfile.open(archive) as packed:
        for member in packed:
            if member.isdir():
                _place(archive, member.name, "")
            elif not member.isreg():
                raise _no_file(archive, member.name)
            else:
                content = packed.extractfile(member)
                assert content is not None
                yield member.name, member.size, content
        while packed.fileobj is not None and packed.fileobj.read(1 << 20):
            pass  # to the end, where gzip has its checksum


def _place(archive: Path, name: str, strip: str) -> PurePosixPath | None:
    """Return an entry's path below the target, None for what macOS adds."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise InputError(
            f"{archive}: its entry {name} leads out of the folder; nothing was unpacked, do not trust this file."
        )
    if "__MACOSX" in path.parts or path.name == ".DS_Store" or path.name.startswith("._"):
        return None
    top = PurePosixPath(strip)
    return path.relative_to(top) if strip and path.is_relative_to(top) else path


def _write(path: Path, size: int, content: IO[bytes]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("xb")
    except OSError as error:
        raise InputError(f"Cannot unpack {path.name}: {error.strerror}; nothing was unpacked.") from error
    with file:
        while block := content.read(1 << 20):
            try:
                file.write(block)
                file.flush()
            except OSError as error:
                raise _no_place(path, error) from error
            size -= len(block)
    if size:
        raise EOFError


def _merge(source: Path, target: Path) -> None:
    for entry in list(source.iterdir()):
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            _merge(entry, place)
        else:
            entry.replace(place)


def _no_file(archive: Path, name: str) -> InputError:
    return InputError(
        f"{archive}: its entry {name} is a link or a device; nothing was unpacked, do not trust this file, or unpack "
        "it yourself."
    )


def _no_place(path: Path, error: OSError) -> InputError:
    return InputError(f"Cannot write {path}: {error.strerror or error}; free or choose another place.")


def _what(error: Exception) -> str:
    if isinstance(error, tarfile.ReadError | zipfile.BadZipFile | EOFError | zlib.error):
        return "this is no zip or tar file, or it breaks off"
    return f"the archive is damaged ({error})"
