"""Files that are there whole or not at all."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from deeplab.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name, and the place of an older one, when the block ends without error.

    It is written beside its place, so that a kill or a full disk leaves the older file, or none, and at worst a
    hidden `.part` file. Missing folders are made.

    Raises InputError if it cannot be written.
    """
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as file:
                yield file
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        cause = systems_error(error)
        if cause is None:
            raise
        reason = cause.strerror or str(cause)
        raise InputError(f"Cannot write {path}: {reason}; free or choose another place.") from error


def systems_error(error: OSError | RuntimeError) -> OSError | None:
    """Return the system's error behind one that came in writing, None if there is none.

    A full disk ends torch.save with a RuntimeError of its own, raised while it handles the system's.
    """
    cause = error if isinstance(error, OSError) else error.__context__
    return cause if isinstance(cause, OSError) else None
