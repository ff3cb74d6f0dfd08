"""Download a large file: with a progress bar, going on where it broke off, and checked before it gets its name."""

import errno
import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import requests
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from deeplab.errors import InputError
from deeplab.preparation.checksums import file_digest, matches
from deeplab.reporting.writing import replacing

_BLOCK = 1 << 16  # what a broken connection loses at most
_TIMEOUT = (20, 60)  # seconds: to connect, between two blocks
_LOST = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


@dataclass(frozen=True)
class Received:
    """What a download brought; kept beside the file as NAME.json."""

    url: str
    bytes: int
    sha256: str
    published_checksum: str | None


class _BrokenOffError(Exception):
    """The connection ended too early; trying again may help."""


def download(
    url: str,
    target: Path,
    checksum: str | None = None,
    *,
    attempts: int = 5,
    pause: float = 1.0,
    console: Console | None = None,
) -> Received:
    """Fetch `url` into the file `target`, which appears only when it is complete and its checksum is right.

    What has arrived stays in `target`.part; a later call goes on from there if the server still offers the same file
    (ETag or Last-Modified). `attempts` connections are tried, `pause` seconds apart, then twice that, and so on.

    Raises InputError when the file cannot be had or is not what it should be, or there is no place for it.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_place(target, error) from error
    part = _Part(target)
    with _bar(console or Console(stderr=True)) as progress:
        progress.add_task(target.name, total=None)
        for attempt in range(attempts):
            try:
                _fetch(url, part, progress)
                break
            except (_BrokenOffError, *_LOST) as error:
                if attempt + 1 == attempts:
                    raise InputError(
                        f"{url}: the download broke off {attempts} times, with {part.size} bytes received "
                        f"({_reason(error)}); run the command again to go on from there, or place the file at {target}."
                    ) from error
                time.sleep(pause * (attempt + 1))
    return _accept(part, url, checksum)


class _Part:
    """The unfinished file, and which version of the server's file it is a part of."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self) -> str | None:
        """What the server called the version, None if there is nothing to go on from."""
        try:
            version = json.loads(self._note.read_text())["version"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return version if isinstance(version, str) and self.size else None

    def begin(self, version: str | None) -> None:
        self.path.write_bytes(b"")
        self._note.write_text(json.dumps({"version": version}))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def _fetch(url: str, part: _Part, progress: Progress) -> None:
    version = part.version()
    headers = {"Accept-Encoding": "identity"}  # else sizes are those of a compressed transfer
    if version is not None:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": version}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        if answer.status_code == 416:  # nothing is left to send, or our part is longer than the file
            part.remove()
            raise _BrokenOffError("the server's file is shorter than what was received")
        if answer.status_code >= 500 or answer.status_code in (408, 429):
            raise _BrokenOffError(f"the server answers {answer.status_code}")
        _refuse(url, answer, part.target)
        total = _total(answer)
        try:
            if answer.status_code != 206 or not _continues(answer, part.size):
                if answer.status_code == 206:
                    part.remove()
                    raise _BrokenOffError("the server sends another part than was asked for")
                part.begin(answer.headers.get("ETag") or answer.headers.get("Last-Modified"))
            _refuse_too_large(part, total)
            _receive(answer, part, total, progress)
        except OSError as error:
            if isinstance(error, requests.RequestException):
                raise
            raise _no_place(part.target, error) from error
    if total is not None and part.size != total:
        raise _BrokenOffError(f"{part.size} of {total} bytes")


def _receive(answer: requests.Response, part: _Part, total: int | None, progress: Progress) -> None:
    bar = progress.task_ids[0]
    progress.update(bar, total=total, completed=part.size)
    with part.path.open("ab") as file:
        for block in answer.iter_content(_BLOCK):
            file.write(block)
            progress.advance(bar, len(block))


def _refuse(url: str, answer: requests.Response, target: Path) -> None:
    if answer.status_code not in (200, 206):
        raise InputError(
            f"{url}: the server answers {answer.status_code} {answer.reason}; get the file elsewhere and place it "
            f"at {target}."
        )
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        raise InputError(
            f"{url}: the server answers with a web page, not with a file; get it elsewhere and place it at {target}."
        )


def _total(answer: requests.Response) -> int | None:
    if answer.status_code == 206:
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        total = answer.headers.get("Content-Length", "")
    return int(total) if total.isdigit() else None


def _continues(answer: requests.Response, size: int) -> bool:
    return answer.headers.get("Content-Range", "").startswith(f"bytes {size}-")


def _refuse_too_large(part: _Part, total: int | None) -> None:
    free = shutil.disk_usage(part.path.parent).free
    if total is not None and total - part.size > free:
        raise OSError(errno.ENOSPC, f"{total - part.size} bytes are wanted, {free} are free")


def _accept(part: _Part, url: str, checksum: str | None) -> Received:
    if checksum is not None and not matches(part.path, checksum):
        part.remove()
        raise InputError(f"{url}: the file received has another checksum than {checksum}; it was deleted, try again.")
    received = Received(url, part.size, file_digest(part.path), checksum)
    with replacing(part.target.with_name(f"{part.target.name}.json")) as file:
        file.write(json.dumps(asdict(received), indent=2).encode())
    try:
        part.path.replace(part.target)
    except OSError as error:
        raise _no_place(part.target, error) from error
    part.remove()
    return received


def _no_place(target: Path, error: OSError) -> InputError:
    return InputError(f"Cannot write {target}: {error.strerror or error}; free or choose another place.")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _bar(console: Console) -> Progress:
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return Progress(TextColumn("{task.description}"), *columns, console=console)
