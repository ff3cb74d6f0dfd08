"""The process of one job: started apart from ours, and ended with everything that it started."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from deeplab.sweeping.places import Place
from deeplab.sweeping.record import OUTPUT

# What one training process tells its own children: a job must not take itself for one of them.
OF_ANOTHER_RUN = (
    *("LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "LOCAL_WORLD_SIZE", "ROLE_RANK"),
    *("MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED", "TORCHELASTIC_RUN_ID"),
)
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class JobProcess:
    """A command in a session of its own; its output goes to output.log in `folder`."""

    def __init__(self, command: Sequence[str], folder: Path, place: Place) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.place = place
        self._start = time.monotonic()
        environment = {key: value for key, value in os.environ.items() if key not in OF_ANOTHER_RUN}
        environment["PYTHONUNBUFFERED"] = "1"
        if place.gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(place.gpus)
        with (folder / OUTPUT).open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                preexec_fn=lambda: _prepare(place),
            )

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self._start

    def poll(self) -> int | None:
        """Its exit code once it has ended; what it started and left behind is then ended too."""
        code = self._process.poll()
        if code is not None:
            self.signal(signal.SIGKILL)
        return code

    def signal(self, number: int) -> None:
        """Send a signal to all its processes."""
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:  # all of them have ended
            return


def _prepare(place: Place) -> None:
    """In the new process: its cores, and that it is told when the sweep's process dies."""
    os.sched_setaffinity(0, place.cores)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
