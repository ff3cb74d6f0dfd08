"""`run.json`: what a run is doing or how it ended, and on what; beside it `environment.json` and `code.patch`."""

import fcntl
import os
import platform
import socket
import sys
import threading
import time
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

from deeplab.errors import InputError, Preempted
from deeplab.reporting.environment import ENVIRONMENT, PATCH, code_patch, cpu_model, environment, usable_cores
from deeplab.reporting.first_process import is_first_process
from deeplab.reporting.liveness import BEAT, process_facts
from deeplab.reporting.run_files import RUN, code_version, read_run, write_json
from deeplab.reporting.writing import replacing


class RunRecord:
    """Keeps `run.json` in `folder` true: running, then finished, or failed or preempted with the reason.

    Only rank 0 writes.  Use it as a context manager around the work; `update` adds what is learnt on the way. While
    the work goes on, the file is touched every half minute, see `deeplab.reporting.liveness`.
    """

    def __init__(self, folder: Path, **facts: Any) -> None:
        self.path = folder / RUN
        self.is_writer = is_first_process()
        self.facts: dict[str, Any] = {
            "state": "running",
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command": sys.argv,
            **code_version(),
            "host": socket.gethostname(),
            "process": process_facts(),
            "python": platform.python_version(),
            "torch": version("torch"),
            "device": device_name(),
            "images_per_second": None,
            "peak_memory": None,
            **facts,
        }
        self._start = time.monotonic()
        self._before = 0.0  # seconds of earlier processes of this run
        self._earlier = _left_behind(folder)
        self._over = threading.Event()
        self._claim: int | None = None

    def update(self, **facts: Any) -> None:
        """Add or change facts and write the file."""
        self.facts.update(facts, seconds=round(self._before + time.monotonic() - self._start, 1))
        if self.is_writer:
            write_json(self.path, self.facts)

    def go_on(self) -> None:
        """Count on from the process whose record lay in the folder, so that a resumed run has the cost of all of it."""
        self._before = self._earlier.get("seconds") or 0.0
        self.update(
            seconds_before=self._before,
            **{key: self._earlier.get(key) for key in ("images_per_second", "peak_memory")},
        )

    def trained(self, images_per_second: float | None, peak_memory: int | None, steps: int) -> None:
        """Write down what a training cost; one that had no steps left does not hide what the earlier ones needed."""
        speed = self.facts["images_per_second"] if images_per_second is None else images_per_second
        memory = max((each for each in (self.facts["peak_memory"], peak_memory) if each is not None), default=None)
        self.update(images_per_second=speed, peak_memory=memory, steps=steps)

    def __enter__(self) -> "RunRecord":
        """Begin; raises InputError if another process keeps a record in the folder."""
        if self.is_writer:
            self._claim = _claim(self.path.parent)
        self.update()
        if self.is_writer:
            try:
                _write_surroundings(self.path.parent)
            except BaseException as error:  # Ctrl-C among others; run.json would say for ever that the run goes on
                self.__exit__(type(error), error, error.__traceback__)
                raise
            threading.Thread(target=self._beat, daemon=True, name="run.json").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        try:
            self._end_by(error)
        finally:
            if self._claim is not None:
                os.close(self._claim)

    def _end_by(self, error: BaseException | None) -> None:
        if error is None:
            self.update(state="finished")
        elif isinstance(error, KeyboardInterrupt):
            self.end("preempted", "Stopped by Ctrl-C.")
        else:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.end("preempted" if isinstance(error, Preempted) else "failed", reason)

    def end(self, state: str, reason: str) -> None:
        """Write down that the run ended early, and why."""
        self.update(state=state, error=reason)

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            if self.path.exists():
                os.utime(self.path)


def _claim(folder: Path) -> int | None:
    """Lock the folder until the descriptor that is returned is closed, or this process ends.

    Two commands of the same second have one folder by its name, and may be given one.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None  # said when the first file is written
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise InputError(
            f"{folder}: another command is writing its run there; wait for it, or call again for a folder of its own."
        ) from error
    except OSError:  # a file system without locks
        pass
    return descriptor


def _left_behind(folder: Path) -> dict[str, Any]:
    """The record that an earlier process left; a killed one never wrote its seconds, but it touched the file."""
    try:
        facts = read_run(folder)
        if facts["state"] == "running":
            began = datetime.fromisoformat(facts["started"]).timestamp()
            lived = max(0.0, (folder / RUN).stat().st_mtime - began)
            facts["seconds"] = round((facts.get("seconds_before") or 0.0) + lived, 1)
    except (InputError, KeyError, TypeError, ValueError):  # none, or a damaged one: nothing to count on from
        return {}
    return facts


def _write_surroundings(folder: Path) -> None:
    write_json(folder / ENVIRONMENT, environment())
    patch = code_patch()
    if patch:
        with replacing(folder / PATCH) as file:
            file.write(patch.encode("utf-8", "surrogateescape"))


def device_name() -> str:
    """The GPU's name, or the processor with its number of cores that this process may use."""
    torch = sys.modules.get("torch")  # a command that did without it used no GPU
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"{cpu_model()} ({usable_cores()} cores)"
