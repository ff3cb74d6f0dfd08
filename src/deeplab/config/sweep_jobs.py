"""What the launchers of a sweep have in common: its record, its jobs' names and arguments, and the table at its end."""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, open_dict

from deeplab.errors import InputError
from deeplab.sweeping.record import SWEEP, Job, SweepRecord, read_sweep
from deeplab.sweeping.slurm_sweep import SlurmSweep
from deeplab.sweeping.sweep import Sweep

log = logging.getLogger(__name__)


class JobFailedError(Exception):
    """What a sweeper gets for the score of a job that failed."""


class ThisProcess:
    """The sweep of this process, for all calls of its sweeper and for the table at its end."""

    sweep: ClassVar[Sweep | SlurmSweep | None] = None


def sweep_folder(config: DictConfig) -> Path:
    """Where a sweep's record and its jobs lie."""
    return Path(str(config.hydra.sweep.dir)).resolve()


def leave_another_sweep_alone(config: DictConfig) -> None:
    """Raise InputError for a folder that holds a sweep already; to be asked before Hydra's sweeper writes into it."""
    folder = sweep_folder(config)
    if (folder / SWEEP).exists():
        raise InputError(
            f"{folder} holds a sweep already: go on with it by resume_sweep={folder}, or set hydra.sweep.dir to "
            "another place."
        )


def open_record(folder: Path, arguments: list[str], resume: bool) -> SweepRecord:
    """The record of a sweep in `folder`, kept for this process.

    Raises InputError for a folder without a sweep that is to be resumed.
    """
    old = read_sweep(folder).jobs if resume else []
    folder.mkdir(parents=True, exist_ok=True)
    _log_to(folder / "sweep.log")
    record = SweepRecord(folder, [each for each in arguments if not each.startswith("hydra.launcher.resume=")], old)
    record.lock()
    return record


def composed(launcher: Any, number: int, overrides: Sequence[str]) -> DictConfig:
    """The configuration of job `number` for a launcher that was set up (`config`, `hydra_context`)."""
    config: DictConfig = launcher.hydra_context.config_loader.load_sweep_config(launcher.config, list(overrides))
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number
    return config


def names(job_overrides: Sequence[Sequence[str]], config: Any) -> list[str]:
    """What differs between the jobs; for a sweeper that asks for one at a time, what it added to the command."""
    common = set.intersection(*map(set, job_overrides))
    if len(job_overrides) == 1:
        given = {str(each).lower() for each in config.hydra.overrides.task}  # sweepers write false as False
        common = {each for each in common if each.lower() in given}
    return [", ".join(each for each in overrides if each not in common) for overrides in job_overrides]


def entered(record: SweepRecord, config: DictConfig, overrides: list[str], name: str) -> Job:
    """The job in the record: a new one, or as an earlier start of the sweep left it.

    Raises InputError when it was asked for something else then.
    """
    number = int(config.hydra.job.num)
    job = Job(number, overrides, str(config.hydra.sweep.subdir), name or f"job {number}")
    for other in record.jobs:
        if other.number != number and other.folder == job.folder:
            raise InputError(
                f"hydra.sweep.subdir={job.folder}: jobs {other.number} and {number} would share that folder; let it "
                "hold ${hydra.job.num}."
            )
    if number < len(record.jobs):
        job = record.jobs[number] = _taken_over(record, record.jobs[number], job)
    else:
        record.jobs.append(job)
    return job


def _taken_over(record: SweepRecord, old: Job, new: Job) -> Job:
    """The job as it was left; one whose folder is gone is run again."""
    if old.overrides != new.overrides or old.folder != new.folder:
        raise InputError(
            f"Job {new.number} of this sweep was `{' '.join(old.overrides)}` and would now be "
            f"`{' '.join(new.overrides)}`: begin a new sweep. (A sampler without a seed draws other values each time.)"
        )
    if old.state == "finished" and not record.place(old).is_dir():
        log.warning("Job %d was finished, but its folder is gone: it is run again", old.number)
        return new
    return old


def added(record: SweepRecord, job: Job, config: DictConfig) -> list[str]:
    """What a job's command has beside its own overrides: names for W&B, and that it resumes if it was begun."""
    arguments = []
    if "wandb" in str((config.logger or {}).get("_target_", "")):
        if config.logger.get("group") is None:
            arguments.append(f"logger.group={_text(record.folder.name)}")
        if config.logger.get("name") in (None, config.name):
            arguments.append(f"logger.name={_text(job.name)}")
    return [*arguments, "resume=auto"] if record.has_checkpoint(job) else arguments


def _text(value: str) -> str:
    """A value that Hydra's grammar takes as text."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def returned(job: Job, config: Any) -> JobReturn:
    """What a sweeper is told; only those that look for the best need a score.

    Raises InputError if such a one is used and the job has none.
    """
    if job.state != "finished":
        failure = JobFailedError(f"Job {job.number} has failed: {job.error}.")
        return _Failed(overrides=job.overrides, status=JobStatus.FAILED, _return_value=failure)
    if job.score is None and not str(config.hydra.sweeper["_target_"]).endswith(".BasicSweeper"):
        raise InputError(f"Job {job.number} has no mIoU for the sweeper: evaluate=none does not go with it.")
    return JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED, _return_value=job.score)


class _Failed(JobReturn):
    """Raises without what Hydra would print, for the table says it."""

    @property
    def return_value(self) -> Any:
        raise self._return_value

    @return_value.setter
    def return_value(self, value: Any) -> None:
        self._return_value = value


def _log_to(path: Path) -> None:
    """Messages of the sweep, on the console and in its folder."""
    logger = logging.getLogger("deeplab")
    logger.setLevel(logging.INFO)
    to_file = logging.FileHandler(path)
    to_file.setFormatter(logging.Formatter("[%(asctime)s] %(message)s"))
    for handler in (logging.StreamHandler(), to_file):
        logger.addHandler(handler)


def finish() -> int:
    """Print the table of the sweep that this process ran, if any; return how many of its jobs have not finished."""
    sweep = ThisProcess.sweep
    if sweep is None:
        return 0
    from rich.console import Console

    from deeplab.sweeping.table import sweep_table

    ThisProcess.sweep = None
    jobs, folder = sweep.record.jobs, sweep.record.folder
    left = [job for job in jobs if job.state != "finished"]
    Console().print(sweep_table(jobs, f"sweep {folder}"))
    for job in left:
        log.error("Job %d has not finished (%s); see %s", job.number, job.error, sweep.log_of(job))
    if left:
        log.error("Go on, finished jobs left out, with: deeplab train %s", shlex.quote(f"resume_sweep={folder}"))
    return len(left)
