"""Archives of predictions, one entry at a time."""

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from deeplab.errors import InputError
from deeplab.reporting.writing import replacing

_LARGEST = 64 << 20  # bytes of an entry: a label map of 2048x1024 has 2 MB even without compression
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError)

Entry = tuple[str, bytes]


def write_archive(path: Path, container: Literal["tgz", "zip"], entries: Iterable[Entry]) -> None:
    """Write an archive, whole or not at all; the same entries give the same bytes. Raises InputError as `replacing`."""
    with replacing(path) as file:
        if container == "tgz":
            _write_tgz(file, entries)
        else:
            _write_zip(file, entries)


def read_archive(path: Path) -> Iterator[Entry]:
    """Read the files of a tgz or zip archive; raises InputError for one that is damaged or holds very large files."""
    try:
        if zipfile.is_zipfile(path):
            yield from _read_zip(path)
        else:
            yield from _read_tar(path)
    except FileNotFoundError as error:
        raise InputError(f"archive={path}: there is no such file.") from error
    except _DAMAGED as error:
        raise InputError(f"archive={path}: this is no tgz or zip file, or it breaks off; pack it again.") from error


def _write_tgz(file: BinaryIO, entries: Iterable[Entry]) -> None:
    with (
        gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, content in entries:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _write_zip(file: BinaryIO, entries: Iterable[Entry]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # PNGs do not get smaller
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content)


def _read_zip(path: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                _refuse_large(path, member.filename, member.file_size)
                yield member.filename, archive.read(member)


def _read_tar(path: Path) -> Iterator[Entry]:
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isdir():
                continue
            _refuse_large(path, member.name, member.size)
            content = archive.extractfile(member) if member.isreg() else None
            if content is None:
                raise InputError(f"archive={path}: {member.name} is a link or a device, not a file; pack it again.")
            yield member.name, content.read()
        while archive.fileobj is not None and archive.fileobj.read(1 << 20):
            pass  # to the end, where gzip has its checksum


def _refuse_large(path: Path, name: str, size: int) -> None:
    if size > _LARGEST:
        raise InputError(f"archive={path}: {name} has {size} bytes, which no label map has.")
