"""Sweeps of small programs in place of trainings; a `squeue` in place of Slurm's."""

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from deeplab.sweeping import slurm_sweep
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


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """squeue(answer, ...): what it prints, call by call, the last for ever; `!` before an answer goes to stderr."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setattr(slurm_sweep, "INTERVAL", 0)
    monkeypatch.setattr(slurm_sweep, "LOOK", 0.01)

    def answers(*texts: str) -> None:
        for number, text in enumerate(texts):
            (folder / f"answer_{number}").write_text(text + "\n" if text else "")
        script = f"""#!/bin/bash
cd {folder}
n=$(cat calls 2>/dev/null || echo 0)
[ -e answer_$((n + 1)) ] && echo $((n + 1)) >calls
case "$(cat answer_$n)" in !*) cat answer_$n >&2; exit 1 ;; esac
cat answer_$n
"""
        (folder / "squeue").write_text(script)
        (folder / "squeue").chmod(0o755)

    return answers
