"""Hydra's launcher of `deeplab train`: composes each job of a sweep and hands it to `deeplab.sweeping`.

Hydra's own launcher runs all jobs in one process: there a job that dies ends the sweep, and with DDP the processes of
the other devices would begin the whole sweep again.
"""

import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from deeplab.errors import InputError
from deeplab.sweeping.places import Places, visible_gpus
from deeplab.sweeping.record import SWEEP, Job, SweepRecord, read_sweep
from deeplab.sweeping.sweep import Sweep, Task

log = logging.getLogger(__name__)

# What concerns the sweep itself and not its jobs.
OF_THE_SWEEP = ("hydra.sweep.", "hydra/sweeper=", "hydra.sweeper", "hydra/launcher=", "hydra.launcher", "hydra.mode=")


class JobFailedError(Exception):
    """What a sweeper gets for the score of a job that failed."""


class ProcessLauncher(Launcher):
    """Runs each job in a process of its own, `jobs` at a time."""

    sweep: ClassVar[Sweep | None] = None
    """The sweep of this process, for the table at its end."""

    def __init__(self, jobs: int, stop_seconds: float, resume: bool = False) -> None:
        if not isinstance(jobs, int) or jobs < 1:
            raise InputError(f"hydra.launcher.jobs={jobs}: it must be a whole number, at least 1.")
        self.jobs = jobs
        self.stop_seconds = stop_seconds
        self.resume = resume
        self.config: Any = None
        self._context: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self._context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        composed = [
            self._compose(initial_job_idx + index, list(overrides)) for index, overrides in enumerate(job_overrides)
        ]
        sweep = self._open([config for config, _ in composed])
        names = self._names(job_overrides)
        tasks = []
        for (config, overrides), name in zip(composed, names, strict=True):
            tasks.append(self._task(sweep, config, overrides, name))
        sweep.run([task for task in tasks if task.job.state != "finished"])
        return [self._returned(task.job) for task in tasks]

    def _returned(self, job: Job) -> JobReturn:
        """What a sweeper is told; only those that look for the best need a score."""
        if job.state != "finished":
            failure = JobFailedError(f"Job {job.number} has failed: {job.error}.")
            return _Failed(overrides=job.overrides, status=JobStatus.FAILED, _return_value=failure)
        if job.score is None and not str(self.config.hydra.sweeper["_target_"]).endswith(".BasicSweeper"):
            raise InputError(f"Job {job.number} has no mIoU for the sweeper: evaluate=none does not go with it.")
        return JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED, _return_value=job.score)

    def _compose(self, number: int, overrides: list[str]) -> tuple[DictConfig, list[str]]:
        config = self._context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        return config, overrides

    def _open(self, configs: list[DictConfig]) -> Sweep:
        """The sweep; made at the first call."""
        if ProcessLauncher.sweep is not None:
            return ProcessLauncher.sweep
        folder = Path(str(self.config.hydra.sweep.dir)).resolve()
        if os.environ.get("TORCHELASTIC_RUN_ID"):
            raise InputError("A sweep starts its jobs by itself: call it without torchrun.")
        old = read_sweep(folder).jobs if self.resume else []
        if not self.resume and (folder / SWEEP).exists():
            raise InputError(
                f"{folder} holds a sweep already: go on with it by resume_sweep={folder}, or set hydra.sweep.dir to "
                "another place."
            )
        folder.mkdir(parents=True, exist_ok=True)
        _log_to(folder / "sweep.log")
        gpus = [] if all(config.trainer.accelerator == "cpu" for config in configs) else visible_gpus()
        arguments = [each for each in sys.argv[1:] if not each.startswith("hydra.launcher.resume=")]
        record = SweepRecord(folder, arguments, old)
        record.lock()
        places = Places(min(self.jobs, len(configs)) if len(configs) > 1 else self.jobs, gpus)
        ProcessLauncher.sweep = Sweep(record, places, self.stop_seconds)
        log.info("%d jobs, %d at a time; everything lies in %s", len(configs), places.jobs, folder)
        if sharing := places.sharing():
            log.info("%s", sharing)
        return ProcessLauncher.sweep

    def _names(self, job_overrides: Sequence[Sequence[str]]) -> list[str]:
        """What differs between the jobs; for a sweeper that asks for one at a time, what it added to the command."""
        common = set.intersection(*map(set, job_overrides))
        if len(job_overrides) == 1:
            common &= set(OmegaConf.to_container(self.config.hydra.overrides.task))  # type: ignore[arg-type]
        return [", ".join(each for each in overrides if each not in common) for overrides in job_overrides]

    def _task(self, sweep: Sweep, config: DictConfig, overrides: list[str], name: str) -> Task:
        record, number = sweep.record, int(config.hydra.job.num)
        job = Job(number, overrides, str(config.hydra.sweep.subdir), name or f"job {number}")
        if number < len(record.jobs):
            job = record.jobs[number] = _taken_over(record, record.jobs[number], job)
        else:
            record.jobs.append(job)
        available = sweep.places.gpus
        gpus = _gpus(config.trainer, len(available))
        refusal = None
        if gpus is not None and gpus > len(available):
            refusal = f"trainer.devices={config.trainer.devices}: this machine has {len(available)} GPUs"
        command = [sys.executable, "-m", "deeplab.train", *self._arguments(record, job, config)]
        return Task(job, command, gpus, refusal)

    def _arguments(self, record: SweepRecord, job: Job, config: DictConfig) -> list[str]:
        """Of the job's own command."""
        hydra = self.config.hydra
        arguments = [f"--config-name={hydra.job.config_name}"]
        for source in hydra.runtime.config_sources:
            if source.provider == "command-line":
                arguments.append(f"--config-dir={source.path}")
        arguments += [each for each in hydra.overrides.hydra if not each.startswith(OF_THE_SWEEP)]
        places = f"hydra.run.dir={record.place(job)}", f"hydra.sweep.dir={record.folder}", f"hydra.job.num={job.number}"
        arguments += [*job.overrides, *places]
        if "wandb" in str((config.logger or {}).get("_target_", "")):
            if config.logger.get("group") is None:
                arguments.append(f"logger.group={_text(record.folder.name)}")
            if config.logger.get("name") in (None, config.name):
                arguments.append(f"logger.name={_text(job.name)}")
        return [*arguments, "resume=auto"] if record.has_checkpoint(job) else arguments


def _text(value: str) -> str:
    """A value that Hydra's grammar takes as text."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _gpus(trainer: Any, available: int) -> int | None:
    """How many GPUs a job is given; None for a job on the CPU, and for one that names its own."""
    devices = trainer.devices
    if trainer.accelerator == "cpu" or not available:
        return None
    if str(devices) in ("-1", "auto"):
        return available
    return int(devices) if str(devices).isdigit() else None


def _taken_over(record: SweepRecord, old: Job, new: Job) -> Job:
    """The job as an earlier start of the sweep left it; one whose folder is gone is run again.

    Raises InputError when it was asked for something else then.
    """
    if old.overrides != new.overrides or old.folder != new.folder:
        raise InputError(
            f"Job {new.number} of this sweep was `{' '.join(old.overrides)}` and would now be "
            f"`{' '.join(new.overrides)}`: begin a new sweep. (A sampler without a seed draws other values each time.)"
        )
    if old.state == "finished" and not record.place(old).is_dir():
        log.warning("Job %d was finished, but its folder is gone: it is run again", old.number)
        return new
    return old


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


def register() -> None:
    """Make the launcher known to Hydra, which takes plugins by a name below hydra_plugins only."""
    ProcessLauncher.sweep = None
    Plugins.instance().class_name_to_class["hydra_plugins.deeplab.ProcessLauncher"] = ProcessLauncher


def finish() -> int:
    """Print the table of the sweep that this process ran, if any; return how many of its jobs have not finished."""
    sweep = ProcessLauncher.sweep
    if sweep is None:
        return 0
    from rich.console import Console

    from deeplab.sweeping.table import sweep_table

    ProcessLauncher.sweep = None
    jobs, folder = sweep.record.jobs, sweep.record.folder
    left = [job for job in jobs if job.state != "finished"]
    Console().print(sweep_table(jobs, f"sweep {folder}"))
    for job in left:
        log.error("Job %d has not finished (%s); see %s", job.number, job.error, sweep.record.place(job) / "output.log")
    if left:
        log.error("Go on, finished jobs left out, with: deeplab train %s", shlex.quote(f"resume_sweep={folder}"))
    return len(left)
