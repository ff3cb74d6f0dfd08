"""Hydra's launcher of `deeplab train`: composes each job of a sweep and hands it to `deeplab.sweeping`.

Hydra's own launcher runs all jobs in one process: there a job that dies ends the sweep, and with DDP the processes of
the other devices would begin the whole sweep again.
"""

import logging
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from deeplab.config.sweep_jobs import (
    ThisProcess,
    added,
    composed,
    entered,
    leave_another_sweep_alone,
    names,
    open_record,
    returned,
    sweep_folder,
)
from deeplab.errors import InputError
from deeplab.sweeping.places import Places, visible_gpus
from deeplab.sweeping.record import Job, SweepRecord
from deeplab.sweeping.sweep import Sweep, Task

log = logging.getLogger(__name__)

# What concerns the sweep itself and not its jobs.
OF_THE_SWEEP = ("hydra.sweep.", "hydra/sweeper=", "hydra.sweeper", "hydra/launcher=", "hydra.launcher", "hydra.mode=")


class ProcessLauncher(Launcher):
    """Runs each job in a process of its own, `jobs` at a time."""

    def __init__(self, jobs: int, stop_seconds: float, resume: bool = False) -> None:
        if not isinstance(jobs, int) or jobs < 1:
            raise InputError(f"hydra.launcher.jobs={jobs}: it must be a whole number, at least 1.")
        self.jobs = jobs
        self.stop_seconds = stop_seconds
        self.resume = resume
        self.config: Any = None
        self.hydra_context: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context
        if not self.resume:
            leave_another_sweep_alone(config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        configs = [composed(self, number, each) for number, each in enumerate(job_overrides, initial_job_idx)]
        sweep = self._open(configs)
        tasks = []
        for config, overrides, name in zip(configs, job_overrides, names(job_overrides, self.config), strict=True):
            tasks.append(self._task(sweep, config, list(overrides), name))
        sweep.run([task for task in tasks if task.job.state != "finished"])
        return [returned(task.job, self.config) for task in tasks]

    def _open(self, configs: list[DictConfig]) -> Sweep:
        """The sweep; made at the first call."""
        if isinstance(ThisProcess.sweep, Sweep):
            return ThisProcess.sweep
        if os.environ.get("TORCHELASTIC_RUN_ID"):
            raise InputError("A sweep starts its jobs by itself: call it without torchrun.")
        folder = sweep_folder(self.config)
        record = open_record(folder, sys.argv[1:], self.resume)
        gpus = [] if all(config.trainer.accelerator == "cpu" for config in configs) else visible_gpus()
        places = Places(min(self.jobs, len(configs)) if len(configs) > 1 else self.jobs, gpus)
        ThisProcess.sweep = Sweep(record, places, self.stop_seconds)
        log.info("%d jobs, %d at a time; everything lies in %s", len(configs), places.jobs, folder)
        if sharing := places.sharing():
            log.info("%s", sharing)
        return ThisProcess.sweep

    def _task(self, sweep: Sweep, config: DictConfig, overrides: list[str], name: str) -> Task:
        job = entered(sweep.record, config, overrides, name)
        available = sweep.places.gpus
        gpus = _gpus(config.trainer, len(available))
        refusal = None
        if gpus is not None and gpus > len(available):
            refusal = f"trainer.devices={config.trainer.devices}: this machine has {len(available)} GPUs"
        command = [sys.executable, "-m", "deeplab.train", *self._arguments(sweep.record, job, config)]
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
        return [*arguments, *job.overrides, *places, *added(record, job, config)]


def _gpus(trainer: Any, available: int) -> int | None:
    """How many GPUs a job is given; None for a job on the CPU, and for one that names its own."""
    devices = trainer.devices
    if trainer.accelerator == "cpu" or not available:
        return None
    if str(devices) in ("-1", "auto"):
        return available
    return int(devices) if str(devices).isdigit() else None


def register() -> None:
    """Make the launchers known to Hydra, which takes plugins by a name below hydra_plugins only."""
    ThisProcess.sweep = None
    known = Plugins.instance().class_name_to_class
    known["hydra_plugins.deeplab.ProcessLauncher"] = ProcessLauncher
    if _slurm_is_installed():
        from deeplab.config.slurm_launcher import SlurmLauncher

        known["hydra_plugins.deeplab.SlurmLauncher"] = SlurmLauncher


def check_installed(arguments: Sequence[str]) -> None:
    """Raise InputError if a launcher is asked for that this installation does not have."""
    asked = next((each for each in arguments if each.startswith("hydra/launcher=slurm")), None)
    if asked is not None and not _slurm_is_installed():
        raise InputError(f"{asked} needs submitit, which is not installed: pip install -c constraints.txt '.[sweep]'.")


def _slurm_is_installed() -> bool:
    return find_spec("hydra_plugins") is not None and find_spec("hydra_plugins.hydra_submitit_launcher") is not None
