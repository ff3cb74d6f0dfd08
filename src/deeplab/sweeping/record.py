"""`sweep.json`: the jobs of a sweep, how each stands, and what it scored."""

import fcntl
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any

from deeplab.errors import InputError
from deeplab.reporting.run_files import CHECKPOINTS, METRICS, read_json, write_json

SWEEP = "sweep.json"
STATES = ("waiting", "running", "finished", "failed", "stopped")
OUTPUT = "output.log"
LOCK = ".lock"


@dataclass
class Job:
    """One job: what it was asked for, its folder (below the sweep's), and how it stands.

    `exit_code` is negative for a signal, as in `subprocess`; scores are fractions of 1.
    """

    number: int
    overrides: list[str]
    folder: str
    name: str = ""
    state: str = "waiting"
    exit_code: int | None = None
    seconds: float | None = None
    miou: float | None = None
    miou_crf: float | None = None
    error: str | None = None

    @property
    def score(self) -> float | None:
        """What a sweeper looks for the best of: mIoU after the CRF where one ran."""
        return self.miou if self.miou_crf is None else self.miou_crf


@dataclass
class SweepRecord:
    """What `sweep.json` in `folder` holds; `arguments` are those of the command that started the sweep."""

    folder: Path
    arguments: list[str]
    jobs: list[Job] = field(default_factory=list)
    _lock: IO[str] | None = None

    def save(self) -> None:
        """Write the file, whole or not at all."""
        jobs = [asdict(job) for job in self.jobs]
        write_json(self.folder / SWEEP, {"arguments": self.arguments, "jobs": jobs})

    def lock(self) -> None:
        """Keep the folder for this process, until it ends.

        Raises InputError if another one runs the sweep.
        """
        file = (self.folder / LOCK).open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise InputError(f"The sweep in {self.folder} is running already, in another process.") from error
        self._lock = file  # held as long as the file is open

    def place(self, job: Job) -> Path:
        """The job's folder."""
        return self.folder / job.folder

    def has_checkpoint(self, job: Job) -> bool:
        """Whether the job was begun and can go on."""
        return any((self.place(job) / CHECKPOINTS).glob("*.ckpt"))

    def add_results(self, job: Job) -> None:
        """Take scores and the reason of a failure over from the job's own files."""
        folder = self.place(job)
        if job.state == "finished":
            if (folder / METRICS).is_file():
                metrics = read_json(folder / METRICS)
                job.miou, job.miou_crf = metrics.get("miou"), metrics.get("miou_crf")
        elif job.error is None:
            job.error = self._reason(folder, job)

    @staticmethod
    def _reason(folder: Path, job: Job) -> str:
        if (job.exit_code or 0) < 0:
            return f"killed by {signal.Signals(-(job.exit_code or 0)).name}"
        last = last_line(tail(folder / OUTPUT))
        return last.removeprefix("deeplab train: ") or f"ended with status {job.exit_code}"


def read_sweep(folder: Path) -> SweepRecord:
    """Read the record of a sweep.

    Raises InputError if the folder holds none, or one that was edited and no longer fits together.
    """
    path = folder / SWEEP
    if not path.is_file():
        raise InputError(f"resume_sweep={folder}: there is no {SWEEP} in it; give the folder of a sweep.")
    document = read_json(path)
    arguments, entries = document.get("arguments"), document.get("jobs")
    if not _texts(arguments) or not isinstance(entries, list):
        raise InputError(f"{path} was edited: it needs the keys arguments and jobs; put it back, or begin a new sweep.")
    jobs = [_job(path, number, entry) for number, entry in enumerate(entries)]
    return SweepRecord(folder, list(arguments or []), jobs)


def _job(path: Path, number: int, entry: Any) -> Job:
    known = {each.name for each in fields(Job)}
    fits = (
        isinstance(entry, dict)
        and set(entry) == known
        and entry["number"] == number
        and entry["state"] in STATES
        and _texts(entry["overrides"])
        and isinstance(entry["folder"], str)
    )
    if not fits:
        raise InputError(f"{path} was edited: job {number} does not fit; put it back, or begin a new sweep.")
    return Job(**entry)


def _texts(values: Any) -> bool:
    return isinstance(values, Sequence) and not isinstance(values, str) and all(isinstance(v, str) for v in values)


def tail(path: Path) -> str:
    """The end of a log."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        return file.read().decode(errors="replace")


def last_line(text: str) -> str:
    """The last line that is not empty, "" if there is none; of a traceback that is what was raised."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
