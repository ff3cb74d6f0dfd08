"""Sweeps of small programs in place of trainings."""

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from deeplab.sweeping.places import Places
from deeplab.sweeping.record import Job, SweepRecord
from deeplab.sweeping.sweep import Sweep, Task


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Task]:
    """program(number, code): a task that runs Python code in place of a training."""

    def make(number: int, code: str, gpus: int | None = None) -> Task:
        job = Job(number, [], str(number), f"number {number}")
        return Task(job, [sys.executable, "-c", textwrap.dedent(code)], gpus)

    return make


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., list[Job]]:
    """run(tasks, jobs=1, gpus=[]): run them to their end; returns the jobs."""

    def go(tasks: list[Task], jobs: int = 1, gpus: tuple[str, ...] = ()) -> list[Job]:
        record = SweepRecord(tmp_path, ["-m"], [task.job for task in tasks])
        Sweep(record, Places(jobs, list(gpus)), stop_seconds=5).run(tasks)
        return record.jobs

    return go
