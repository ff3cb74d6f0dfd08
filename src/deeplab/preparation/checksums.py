"""Checksums of large files."""

import hashlib
from pathlib import Path

from deeplab.errors import InputError


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal digest of a file; raises InputError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error.strerror}).") from error


def matches(path: Path, checksum: str) -> bool:
    """Compare a file with a checksum such as `md5:6cd6...` or `sha256:...`.

    A shorter one is compared with the beginning: names of files for torch.hub hold the first eight digits.
    """
    algorithm, _, expected = checksum.partition(":")
    return len(expected) >= 8 and file_digest(path, algorithm).startswith(expected.lower())
