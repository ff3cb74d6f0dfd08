"""`resume=`: a checkpoint, a run's folder, or `auto` for the run's own."""

import logging
import os
from pathlib import Path

from deeplab.errors import InputError
from deeplab.reporting.first_process import is_first_process
from deeplab.reporting.run_files import CHECKPOINTS, LAST
from deeplab.training.checkpoints import newest_checkpoint

AUTO = "auto"

log = logging.getLogger(__name__)


def leave_another_run_alone(folder: Path) -> None:
    """Raise InputError if the folder of a run that starts anew holds the checkpoints of another."""
    if is_first_process() and any((folder / CHECKPOINTS).glob("*.ckpt")):
        raise InputError(
            f"{folder} holds the checkpoints of another run; go on with it by resume={folder}, or name another folder."
        )


def resume_from(resume: str | None, folder: Path) -> Path | None:
    """The checkpoint that `resume` means for a run in `folder`; None for a run that starts anew.

    Raises InputError for a folder without a checkpoint, or with damaged ones alone. `auto` starts anew where there is
    none, so that a job can be given it from the first. A job that Slurm put back into its queue resumes by itself.
    """
    if resume is None and int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0:
        resume = AUTO
    if resume is None:
        return None
    if resume == AUTO:
        found = newest_checkpoint(folder / CHECKPOINTS)
        log.info("Resuming from %s", found) if found else log.info("No checkpoint in %s yet: starting anew", folder)
        return found
    path = Path(resume).expanduser()
    if not path.is_dir():
        return path
    found = newest_checkpoint(path / CHECKPOINTS) or newest_checkpoint(path)
    if found is None:
        raise InputError(
            f"resume={resume}: this folder has no {CHECKPOINTS}/{LAST}; give a run's folder or a checkpoint."
        )
    log.info("Resuming from %s", found)
    return found
