"""Jobs in Slurm's queue as a `squeue` of ours tells of them."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deeplab.reporting.run_files import write_json
from deeplab.sweeping.record import Job, SweepRecord, read_sweep
from deeplab.sweeping.slurm_queue import Entry, queue
from deeplab.sweeping.slurm_sweep import FINISHED, QueuedJob, SlurmSweep
from deeplab.sweeping.sweep import SweepStoppedError

Squeue = Callable[..., None]


def waited(folder: Path, outcome: Callable[[], str | None], errors: str = "") -> Job:
    """The one job of a sweep after it was waited for."""
    (folder / "errors").write_text(errors)
    job = Job(0, ["seed=0"], "0", "seed=0")
    record = SweepRecord(folder, ["-m"], [job])
    SlurmSweep(record).wait([QueuedJob(job, "7_0", outcome, folder / "errors")])
    assert read_sweep(folder).jobs == [job]
    return job


def test_what_the_queue_tells(squeue: Squeue) -> None:
    squeue("7_0|RUNNING|None|n[1-2]\n7_1|PENDING|Resources|\n7_2|FAILED|NonZeroExitCode|n1")
    entries = queue(["7_0", "7_1", "7_2"])
    assert entries == {
        "7_0": Entry("RUNNING", "None", "n[1-2]"),
        "7_1": Entry("PENDING", "Resources", ""),
        "7_2": Entry("FAILED", "NonZeroExitCode", "n1"),
    }
    assert [each.over for each in entries.values()] == [False, False, True]
    texts = ["RUNNING on n[1-2]", "PENDING (Resources)", "FAILED on n1 (NonZeroExitCode)"]
    assert list(map(str, entries.values())) == texts


def test_a_controller_that_is_away_and_a_job_that_nobody_knows(squeue: Squeue) -> None:
    squeue("!slurm_load_jobs error: Unable to contact slurm controller", "!slurm_load_jobs error: Invalid job id")
    assert queue(["7"]) is None
    assert queue(["7"]) == {}


@pytest.mark.parametrize(
    ("last", "errors", "reason"),
    [
        (
            "7_0|FAILED|NonZeroExitCode|n1",
            "srun: error: n1: task 0: Killed\nsrun: Force Terminated",
            "n1: task 0: Killed",
        ),
        ("7_0|OUT_OF_MEMORY|OutOfMemory|n1", "", "OUT_OF_MEMORY on n1 (OutOfMemory) in Slurm, without a result"),
        ("", "No module named 'deeplab'", "without a result: No module named 'deeplab'"),
        ("!slurm_load_jobs error: Invalid job id specified", "", "RUNNING on n1 in Slurm, without a result"),
    ],
)
def test_a_job_that_ends_without_a_word(squeue: Squeue, tmp_path: Path, last: str, errors: str, reason: str) -> None:
    away = "!slurm_load_jobs error: Unable to contact slurm controller"
    squeue("7_0|RUNNING|None|n1", away, last)
    job = waited(tmp_path, lambda: None, errors)
    assert job.state == "failed" and job.error is not None and reason in job.error


def test_a_job_that_goes_back_into_the_queue_has_not_ended(squeue: Squeue, tmp_path: Path) -> None:
    """What its process 0 left when it was told to leave is the reason of nothing then."""
    running = "7_0|RUNNING|None|n1"
    squeue(running, "7_0|NODE_FAIL|None|n1", "7_0|COMPLETING|None|n1", "7_0|PENDING|BeginTime|", running, running)
    outcomes = iter(["Left on SIGTERM."] * 5 + [FINISHED])
    (tmp_path / "0").mkdir()
    write_json(tmp_path / "0" / "run.json", {"state": "finished", "seconds": 12.5})
    write_json(tmp_path / "0" / "metrics.json", {"miou": 0.5, "miou_crf": None})
    job = waited(tmp_path, lambda: next(outcomes))
    assert (job.state, job.error, job.seconds, job.miou) == ("finished", None, 12.5, 0.5)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT does something even where the tests were started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_left_says_where_its_jobs_are(
    squeue: Squeue, tmp_path: Path, interruptible: None, number: signal.Signals
) -> None:
    squeue("7_0|RUNNING|None|n1")

    def told() -> None:
        if read_sweep(tmp_path).jobs[0].state == "running":
            signal.raise_signal(number)

    with pytest.raises(SweepStoppedError) as stopped:
        waited(tmp_path, told)
    assert stopped.value.number == number
    [job] = read_sweep(tmp_path).jobs
    assert (job.state, job.error) == ("running", "goes on as Slurm's job 7_0")


def test_why_a_job_failed_that_said_it(squeue: Squeue, tmp_path: Path) -> None:
    squeue("7_0|COMPLETED|None|n1")
    assert (
        waited(tmp_path, lambda: "data.root=/nowhere: no such folder.").error == "data.root=/nowhere: no such folder."
    )
    squeue("7_0|CANCELLED|None|n1")
    assert waited(tmp_path, lambda: "Left on SIGTERM.").error == "CANCELLED on n1 in Slurm: Left on SIGTERM."


def test_a_run_that_wrote_its_reason_down_alone(squeue: Squeue, tmp_path: Path) -> None:
    squeue("7_0|FAILED|NonZeroExitCode|n1")
    (tmp_path / "0").mkdir()

    def outcome() -> None:
        write_json(tmp_path / "0" / "run.json", {"state": "failed", "error": "Process 1 of 2 was lost."})

    assert waited(tmp_path, outcome).error == "Process 1 of 2 was lost."
