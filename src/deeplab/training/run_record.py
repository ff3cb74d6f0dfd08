"""`run.json`: what a run is doing or how it ended, and on what it ran."""

import os
import platform
import socket
import sys
import time
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

from deeplab.errors import Preempted
from deeplab.reporting.run_files import code_version, write_json


class RunRecord:
    """Keeps `run.json` in `folder` true: running, then finished, or failed or preempted with the reason.

    Only rank 0 writes.  Use it as a context manager around the work; `update` adds what is learnt on the way.
    """

    def __init__(self, folder: Path, **facts: Any) -> None:
        self.path = folder / "run.json"
        self.is_writer = is_first_process()
        self.facts: dict[str, Any] = {
            "state": "running",
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command": sys.argv,
            **code_version(),
            "host": socket.gethostname(),
            "python": platform.python_version(),
            "torch": version("torch"),
            "device": device_name(),
            "images_per_second": None,
            "peak_memory": None,
            **facts,
        }
        self._start = time.monotonic()

    def update(self, **facts: Any) -> None:
        """Add or change facts and write the file."""
        self.facts.update(facts, seconds=round(time.monotonic() - self._start, 1))
        if self.is_writer:
            write_json(self.path, self.facts)

    def __enter__(self) -> "RunRecord":
        self.update()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.update(state="finished")
        else:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.end("preempted" if isinstance(error, Preempted) else "failed", reason)

    def end(self, state: str, reason: str) -> None:
        """Write down that the run ended early, and why."""
        self.update(state=state, error=reason)


def is_first_process() -> bool:
    """Whether this is process 0 of all, as torchrun numbers them (RANK) or as Lightning does."""
    if "RANK" in os.environ:
        return int(os.environ["RANK"]) == 0
    return all(int(os.environ.get(name, "0")) == 0 for name in ("LOCAL_RANK", "NODE_RANK"))


def device_name() -> str:
    """The GPU's name, or the processor with its number of cores that this process may use."""
    torch = sys.modules.get("torch")  # a command that did without it used no GPU
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"{platform.processor() or platform.machine()} ({len(os.sched_getaffinity(0))} cores)"
