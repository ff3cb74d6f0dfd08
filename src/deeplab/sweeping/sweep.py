"""Runs the jobs of a sweep, some at a time, until all have ended; keeps `sweep.json` true meanwhile."""

import logging
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from deeplab.sweeping.places import Place, Places
from deeplab.sweeping.process import JobProcess
from deeplab.sweeping.record import OUTPUT, Job, SweepRecord

log = logging.getLogger(__name__)


class SweepStoppedError(Exception):
    """The sweep was told to end; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.number = number


@dataclass
class Task:
    """A job and its command; `gpus` is None where it is not ours to say which it uses.

    `refusal` says why it cannot be run at all.
    """

    job: Job
    command: list[str]
    gpus: int | None = None
    refusal: str | None = None


@dataclass
class Sweep:
    """The jobs of a sweep; `run` takes them in order and may be called again for more of them."""

    record: SweepRecord
    places: Places
    stop_seconds: float = 40

    def log_of(self, job: Job) -> Path:
        """What the job printed."""
        return self.record.place(job) / OUTPUT

    def run(self, tasks: Sequence[Task]) -> None:
        """Run the tasks until all have ended.

        Raises SweepStoppedError on SIGINT, SIGTERM or SIGHUP, after all processes have ended.
        """
        waiting, running = list(tasks), dict[int, tuple[Task, JobProcess]]()
        self.record.save()
        with Signals() as signals:
            while waiting or running:
                if signals.received:
                    self._stop(running)
                    raise SweepStoppedError(signals.received)
                waiting = [task for task in waiting if not self._begin(task, running)]
                self._collect(running)
                time.sleep(0.05)

    def _begin(self, task: Task, running: dict[int, tuple[Task, JobProcess]]) -> bool:
        job = task.job
        if task.refusal is not None:
            job.state, job.exit_code, job.error = "failed", 2, task.refusal
            self._ended(job)
            return True
        place = self.places.take(task.gpus)
        if place is None:
            return False
        running[job.number] = task, JobProcess(task.command, self.record.place(job), place)
        job.state, job.exit_code, job.error = "running", None, None
        self.record.save()
        log.info("Job %d begins%s: %s", job.number, _where(place), job.name)
        return True

    def _collect(self, running: dict[int, tuple[Task, JobProcess]]) -> None:
        for number, (task, process) in list(running.items()):
            code = process.poll()
            if code is None:
                continue
            del running[number]
            self.places.give_back(process.place)
            task.job.exit_code, task.job.seconds = code, round(process.seconds, 1)
            task.job.state = "failed" if code else "finished"
            self.record.add_results(task.job)
            self._ended(task.job)

    def _ended(self, job: Job) -> None:
        self.record.save()
        if job.state == "finished":
            log.info("Job %d has finished after %s s: %s", job.number, job.seconds, job.name)
        else:
            log.error("Job %d has failed (%s): %s", job.number, job.error, job.name)

    def _stop(self, running: dict[int, tuple[Task, JobProcess]]) -> None:
        """Let all processes write what they have, then end them; jobs that wait stay waiting."""
        log.info("The sweep ends; %d jobs may take up to %g s to do so", len(running), self.stop_seconds)
        for _, process in running.values():
            process.signal(signal.SIGTERM)
        until = time.monotonic() + self.stop_seconds
        left = dict(running)
        while left and time.monotonic() < until:
            left = {number: each for number, each in left.items() if each[1].poll() is None}
            time.sleep(0.05)
        for task, process in running.values():
            process.signal(signal.SIGKILL)
            task.job.state, task.job.seconds = "stopped", round(process.seconds, 1)
            task.job.error = "stopped with the sweep"
        self.record.save()


def _where(place: Place) -> str:
    gpus = "" if place.gpus is None else f" on GPU {', '.join(place.gpus)}"
    return f"{gpus} with {len(place.cores)} core{'s'[: len(place.cores) > 1]}"


class Signals:
    """Notes the signals to end instead of breaking off in the middle of something."""

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> "Signals":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and shells do for what runs in the background
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number

    def __exit__(self, *about: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
