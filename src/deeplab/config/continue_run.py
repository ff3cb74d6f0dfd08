"""`deeplab train resume=RUN_DIR`: the run's own command line once more, in its own folder."""

import re
from pathlib import Path
from typing import Any

import yaml

from deeplab.config.options import apart
from deeplab.errors import InputError

RESUME = re.compile(r"^resume=(['\"]?)(?P<folder>.*)\1$", re.S)


def continued(arguments: list[str]) -> list[str]:
    """The arguments, with a run's folder in `resume=` replaced by what the run was started with.

    What is given beside it comes after and so counts; a folder in which no command left its `.hydra` is left alone.

    Raises InputError if the folder's list of overrides cannot be read, or is of another command.
    """
    folder = next((Path(m["folder"]).expanduser() for a in arguments if (m := RESUME.match(a))), None)
    if folder is None or not folder.is_dir() or any(each.startswith("hydra.run.dir=") for each in arguments):
        return arguments
    if {"-m", "--multirun"} & set(arguments):
        raise InputError(
            f"resume={folder}: only one command goes on with a run's folder: leave -m out, give the jobs a checkpoint "
            "of it, or go on with a sweep by resume_sweep=."
        )
    path = folder / ".hydra" / "overrides.yaml"
    if not path.is_file():
        return arguments
    record = _record(folder)
    try:
        before = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"resume={folder}: {path} cannot be read ({type(error).__name__}).") from error
    if not isinstance(before, list):
        raise InputError(
            f"resume={folder}: {path} is no list of overrides; give the command line again with resume=auto."
        )
    options, overrides = apart(arguments)
    if not any(each.partition("=")[0] in ("--config-dir", "-cd") for each in options):
        # The folder of one's own configuration files that the run was given, if it is still there.
        options += [f"--config-dir={each}" for each in record.get("config_dirs") or [] if Path(str(each)).is_dir()]
    given = [each for each in overrides if not RESUME.match(each)]
    kept = [str(each) for each in before if not RESUME.match(str(each))]
    return [*options, *kept, *given, "resume=auto", f"hydra.run.dir={folder.resolve()}"]


def _record(folder: Path) -> dict[str, Any]:
    """What the run noted of itself; nothing where it was killed before. Raises InputError for another command's."""
    from deeplab.reporting.run_files import is_of_training, read_run_if_any  # with numpy: for a run's folder alone

    record = read_run_if_any(folder)
    if record and not is_of_training(record):
        raise InputError(f"resume={folder}: it is the folder of another command than train; name a training's.")
    return record
