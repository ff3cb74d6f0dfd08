"""A sweep on Slurm that goes on, as a `squeue` of ours tells of its jobs."""

import pickle
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from deeplab.config.slurm_launcher import take_over
from deeplab.errors import InputError, RunEndedError
from deeplab.reporting.run_files import write_json
from deeplab.sweeping.record import Job, SweepRecord

FAILED = JobReturn(status=JobStatus.FAILED, _return_value=RunEndedError("The loss is not finite."))


@pytest.fixture
def record(tmp_path: Path) -> SweepRecord:
    """Two jobs, both finished by their own files, the second's nobody waited for."""
    jobs = [Job(0, ["seed=0"], "0", "seed=0", state="finished"), Job(1, ["seed=1"], "1", "seed=1", state="running")]
    for job in jobs:
        (tmp_path / job.folder).mkdir()
        write_json(tmp_path / job.folder / "run.json", {"state": "finished", "seconds": 12.5})
    return SweepRecord(tmp_path, ["-m"], jobs)


def left(record: SweepRecord, number: str, result: object) -> None:
    """What submitit keeps of a job, and its result once it has come."""
    folder = record.folder / ".submitit" / number
    folder.mkdir(parents=True)
    if result is not None:
        (folder / f"{number}_0_result.pkl").write_bytes(pickle.dumps(("success", result)))


def test_a_job_whose_result_has_come_need_not_have_left_the_queue(squeue, record: SweepRecord) -> None:
    """Its processes take seconds to leave, and its nodes may be slow to become free."""
    squeue("7_0|COMPLETING|None|n1\n7_1|RUNNING|None|n2")
    for number in ("7_0", "7_1"):
        left(record, number, JobReturn(status=JobStatus.COMPLETED, cfg=OmegaConf.create({"seed": 0})))
    take_over(record)
    assert [(job.state, job.error) for job in record.jobs] == [("finished", None)] * 2
    assert record.jobs[1].seconds == 12.5


@pytest.mark.parametrize("result", [None, FAILED], ids=["no-result", "failed"])
@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETING"])
def test_a_job_that_may_still_write_is_named(squeue, record: SweepRecord, state: str, result: object) -> None:
    squeue(f"7_0|COMPLETED|None|n1\n7_1|{state}|None|n2")
    left(record, "7_0", JobReturn(status=JobStatus.COMPLETED))
    left(record, "7_1", result)
    with pytest.raises(InputError, match=r"still in Slurm's queue: .* scancel 7_1$"):
        take_over(record)
    assert record.jobs[1].state == "running"
