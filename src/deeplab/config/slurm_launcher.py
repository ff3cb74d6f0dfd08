"""Hydra's launcher of `deeplab train` on Slurm: submitit puts jobs into the queue, `deeplab.sweeping` waits for them.

The plugin's own launcher waits for ever for a job that ends without a result where Slurm keeps no accounts, and ends at
the first job that fails.
"""

import logging
import pickle
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher as SubmititLauncher
from omegaconf import DictConfig, OmegaConf

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
from deeplab.errors import InputError, RunEndedError
from deeplab.reporting.run_files import RUN, read_json
from deeplab.sweeping.record import Job, SweepRecord, last_line
from deeplab.sweeping.slurm_queue import queue
from deeplab.sweeping.slurm_sweep import FINISHED, QueuedJob, SlurmSweep, take_results

log = logging.getLogger(__name__)


class SlurmLauncher(SubmititLauncher):
    """Runs each job of a sweep as one of Slurm's, several as an array; what is pickled for the nodes is this object.

    Args:
        resume: whether the folder holds a sweep that goes on.
        settings: what submitit is told, see conf/hydra/launcher/slurm.yaml.
    """

    def __init__(self, resume: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.resume = resume

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        if not self.resume:
            leave_another_sweep_alone(config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        sweep = self._open()
        configs = [composed(self, number, each) for number, each in enumerate(job_overrides, initial_job_idx)]
        jobs, more = [], []
        for config, overrides, name in zip(configs, job_overrides, names(job_overrides, self.config), strict=True):
            jobs.append(entered(sweep.record, config, list(overrides), name))
            more.append(added(sweep.record, jobs[-1], config))
        left = [(job, arguments) for job, arguments in zip(jobs, more, strict=True) if job.state != "finished"]
        queued = self._submit(left) if left else []
        log.info("%d jobs in Slurm's queue; everything lies in %s", len(queued), sweep.record.folder)
        sweep.wait(queued)
        return [returned(job, self.config) for job in jobs]

    def _open(self) -> SlurmSweep:
        """The sweep; made at the first call."""
        if isinstance(ThisProcess.sweep, SlurmSweep):
            return ThisProcess.sweep
        if not shutil.which("sbatch"):
            raise InputError("hydra/launcher=slurm: there is no sbatch here; call it on a machine of a Slurm cluster.")
        record = open_record(sweep_folder(self.config), sys.argv[1:], self.resume)
        if self.resume:
            take_over(record)
        ThisProcess.sweep = SlurmSweep(record)
        return ThisProcess.sweep

    def _submit(self, jobs: Sequence[tuple[Job, list[str]]]) -> list[QueuedJob]:
        """Put the jobs into the queue.

        Raises InputError if Slurm refuses them.
        """
        import submitit

        settings = dict(self.params)
        folder, timeouts = settings.pop("submitit_folder"), settings.pop("max_num_timeout")
        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=timeouts)
        common = set(OmegaConf.structured(BaseQueueConf))
        executor.update_parameters(**{key if key in common else f"slurm_{key}": settings[key] for key in settings})
        numbers = [job.number for job, _ in jobs]
        for job, _ in jobs:
            job.state, job.error = "waiting", None
        try:
            submitted = executor.map_array(
                self,
                [[*job.overrides, *arguments] for job, arguments in jobs],
                ["hydra.sweep.dir"] * len(jobs),
                numbers,
                [f"job_id_for_{number}" for number in numbers],
                [Singleton.get_state()] * len(jobs),
            )
        except submitit.core.utils.FailedJobError as error:
            raise InputError(f"Slurm does not take the jobs ({last_line(str(error))}).") from error
        queued = []
        for (job, _), each in zip(jobs, submitted, strict=True):
            paths = each.task(0).paths  # process 0 ends last, and its result is the job's
            output = paths.stdout if self.params["stderr_to_stdout"] else paths.stderr
            queued.append(QueuedJob(job, each.job_id, _Outcome(paths.result_pickle), output))
        return queued


class _Outcome:
    """Reads what submitit wrote for process 0 of a job."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> str | None:
        if not self._path.exists():
            return None
        try:
            how, result = pickle.loads(self._path.read_bytes())
        except Exception as error:  # an exception of any library is unpickled by code of that library
            return f"what it left cannot be read: {type(error).__name__}: {error}"
        if how != "success":
            return last_line(result) or "no reason was given"
        if result.status is JobStatus.COMPLETED:
            return FINISHED
        raised = result._return_value
        told = isinstance(raised, InputError | RunEndedError)
        return str(raised) if told else last_line(f"{type(raised).__name__}: {raised}")


def take_over(record: SweepRecord) -> None:
    """Look how the jobs of an earlier start ended that nobody waited for.

    Raises InputError if some of them have not.
    """
    from submitit.core.utils import JobPaths

    folder = record.folder / ".submitit"
    numbers = [path.name for path in folder.glob("[0-9]*")]
    entries = (queue(numbers) if numbers else {}) or {}
    queued = [number for number in numbers if number in entries and not entries[number].over]
    # After its result has come a job stays in the queue until its processes have left and the nodes are free.
    left = [number for number in queued if _Outcome(JobPaths(folder / "%j", number).result_pickle)() != FINISHED]
    if left:
        raise InputError(
            f"Jobs of this sweep are still in Slurm's queue: wait for them, or end them by: scancel {' '.join(left)}"
        )
    for job in record.jobs:
        path = record.place(job) / RUN
        if job.state != "finished" and path.is_file() and read_json(path).get("state") == "finished":
            job.state, job.error = "finished", None
            take_results(record, job)
