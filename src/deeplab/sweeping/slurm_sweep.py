"""Waits for the jobs of a sweep in Slurm's queue, until all have ended; keeps `sweep.json` true meanwhile.

A job can end without having said so: cancelled, killed for its memory, lost with its node. So the queue is asked too.
"""

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deeplab.reporting.run_files import RUN, read_json
from deeplab.sweeping.record import Job, SweepRecord, last_line, tail
from deeplab.sweeping.slurm_queue import Entry, queue
from deeplab.sweeping.sweep import Signals, SweepStoppedError

# Seconds between two questions to Slurm's controller, which is everybody's.
INTERVAL = 10.0
# Seconds between two looks whether a result has come.
LOOK = 1.0
# How often in a row a job has to be found ended, so that a file system that several machines share can show its result.
TIMES = 2
FINISHED = ""

log = logging.getLogger(__name__)


@dataclass
class QueuedJob:
    """A job and its number in the queue, `123_0` in an array.

    `outcome` reads what the job left: None so far, FINISHED, or why it failed. `errors` is where srun writes its own.
    """

    job: Job
    number: str
    outcome: Callable[[], str | None]
    errors: Path
    seen: Entry | None = None
    found_ended: int = 0
    begun: float = field(default_factory=time.time)


@dataclass
class SlurmSweep:
    """The jobs of a sweep that Slurm runs; `wait` may be called again for more of them."""

    record: SweepRecord
    _logs: dict[int, Path] = field(default_factory=dict)

    def log_of(self, job: Job) -> Path:
        """What the job printed."""
        return self._logs.get(job.number, self.record.place(job))

    def wait(self, queued: Sequence[QueuedJob]) -> None:
        """Wait until all have ended, by themselves or not.

        Raises SweepStoppedError on SIGINT, SIGTERM or SIGHUP; the jobs go on then.
        """
        self._logs |= {each.job.number: each.errors for each in queued}
        self.record.save()
        left, asked = list(queued), time.monotonic()
        with Signals() as signals:
            while left:
                time.sleep(LOOK)
                for each in left:
                    if each.outcome() == FINISHED:
                        self._ended(each.job, None)
                left = [each for each in left if each.job.state != "finished"]
                if left and time.monotonic() - asked >= INTERVAL:
                    self._ask(left)
                    asked = time.monotonic()
                left = [each for each in left if each.job.state != "failed"]
                if left and signals.received:
                    self._leave(left)
                    raise SweepStoppedError(signals.received)

    def _leave(self, queued: Sequence[QueuedJob]) -> None:
        """Note where the jobs are that nobody waits for any more."""
        left = [each for each in queued if each.job.state in ("waiting", "running")]
        for each in left:
            each.job.error = f"goes on as Slurm's job {each.number}"
        self.record.save()
        if left:
            numbers = " ".join(each.number for each in left)
            log.info("The jobs stay in Slurm's queue and go on; to end them: scancel %s", numbers)

    def _ask(self, queued: Sequence[QueuedJob]) -> None:
        entries = queue([each.number for each in queued])
        if entries is None:
            return
        for each in queued:
            entry = entries.get(each.number)
            if entry != each.seen and entry is not None:
                each.seen = entry
                if not entry.over:
                    each.job.state = "running" if entry.state == "RUNNING" else "waiting"
                    log.info("Job %d is %s in Slurm's queue as %s", each.job.number, entry, each.number)
                    self.record.save()
            each.found_ended = each.found_ended + 1 if entry is None or entry.over else 0
            if each.found_ended >= TIMES:
                self._ended(each.job, _why(each, self.record.place(each.job) / RUN))

    def _ended(self, job: Job, error: str | None) -> None:
        job.state, job.error = ("finished", None) if error is None else ("failed", error)
        take_results(self.record, job)
        self.record.save()
        if error is None:
            log.info("Job %d has finished: %s", job.number, job.name)
        else:
            log.error("Job %d has failed (%s): %s", job.number, error, job.name)


def take_results(record: SweepRecord, job: Job) -> None:
    """Take a job's seconds, and its scores if it has finished, from its own files; nothing where it wrote none."""
    path = record.place(job) / RUN
    seconds = read_json(path).get("seconds") if path.is_file() else None
    job.seconds = seconds if isinstance(seconds, int | float) else None
    record.add_results(job)


def _why(each: QueuedJob, run_json: Path) -> str:
    """What the job left as its reason, and Slurm's, if it says more."""
    outcome, seen = each.outcome() or _written_down(run_json, each.begun), each.seen
    if outcome is not None:
        return outcome if seen is None or seen.state in ("COMPLETED", "FAILED") else f"{seen} in Slurm: {outcome}"
    state = "left Slurm's queue without a result" if seen is None else f"{seen} in Slurm, without a result"
    last = _srun_said(each.errors)
    return f"{state}: {last}" if last else state


def _written_down(run_json: Path, since: float) -> str | None:
    """Why the run failed, by its own record: a process that is ended from beside its main thread leaves no more."""
    if not run_json.is_file() or run_json.stat().st_mtime < since:
        return None
    error = read_json(run_json).get("error")
    return error if isinstance(error, str) else None


def _srun_said(errors: Path) -> str:
    """What became of a task, `n1: task 0: Killed`, or else the last line."""
    if not errors.is_file():
        return ""
    text = tail(errors)
    tasks = re.findall(r"^srun: error: (.*: tasks? .*)$", text, re.M)
    return tasks[-1] if tasks else last_line(text)
