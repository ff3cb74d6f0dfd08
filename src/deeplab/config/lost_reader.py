"""One sentence for a process of a DataLoader, or of the CRF, that ended."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from deeplab.errors import ProcessLostError


@contextmanager
def told_if_a_process_is_lost() -> Iterator[None]:
    """Raise ProcessLostError where, anywhere in the main thread, a DataLoader's process or one of the CRF has ended."""
    try:
        yield
    except RuntimeError as error:
        from deeplab.crf.workers import CRFWorkerError  # numpy: not for every command's start

        if isinstance(error, CRFWorkerError):
            raise ProcessLostError(str(error)) from error
        found = re.match(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.*?)(\.|$)", str(error))
        if found is None:
            raise
        raise ProcessLostError(
            f"A process that reads pictures (pid {found[1]}) {found[2]}; most often memory or /dev/shm has run out: "
            "lower data.num_workers, or give the job more of it."
        ) from error
