"""What `sweep=`, `jobs=` and `resume_sweep=` on the command line stand for, in Hydra's own words."""

from pathlib import Path
from typing import Any

import yaml

from deeplab.config.explain import conf_dir
from deeplab.errors import InputError
from deeplab.sweeping.record import read_sweep

KEYS = ("sweep", "jobs", "resume_sweep")
LAUNCHER = "hydra.launcher."


def expand(arguments: list[str]) -> list[str]:
    """Replace the three keys; arguments without them are returned as they are.

    `sweep=NAME` becomes `-m` with what conf/sweep/NAME.yaml says, `jobs=K` the launcher's number of jobs at a time, and
    `resume_sweep=DIR` the arguments that the sweep was started with. The user's own overrides beat a sweep's file.

    Raises InputError for an unknown sweep, a folder without one, and keys that do not go together.
    """
    given = {key: [a.split("=", 1)[1] for a in arguments if a.startswith(f"{key}=")] for key in KEYS}
    rest = [each for each in arguments if each.split("=", 1)[0] not in KEYS]
    jobs = [f"{LAUNCHER}jobs={_jobs(value)}" for value in given["jobs"][-1:]]
    if given["resume_sweep"]:
        return _resumed(Path(given["resume_sweep"][-1].strip("'\"")).expanduser(), rest, given["sweep"]) + jobs
    if given["sweep"]:
        rest = _described(given["sweep"][-1], rest)
    if jobs and not {"-m", "--multirun"} & set(rest):
        raise InputError(f"jobs={given['jobs'][-1]} is for sweeps: add -m, or sweep=NAME.")
    return rest + jobs


def _jobs(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"jobs={text}: it must be a whole number, at least 1: the jobs that run at a time.")
    return int(text)


def _resumed(folder: Path, rest: list[str], sweep: list[str]) -> list[str]:
    if rest or sweep:
        other = (rest or [f"sweep={sweep[0]}"])[0]
        raise InputError(
            f"resume_sweep goes on with the sweep as it was begun: leave out {other}; only jobs=K may differ."
        )
    record = read_sweep(folder)
    return [*record.arguments, f"hydra.sweep.dir={folder.resolve()}", f"{LAUNCHER}resume=true"]


def _described(name: str, rest: list[str]) -> list[str]:
    sweep = read_description(name)
    lines = [f"{key}={','.join(map(str, values))}" for key, values in sweep["jobs"].items()] + sweep["overrides"]
    own = {_key(each) for each in rest if not each.startswith("-")}
    flags = [] if {"-m", "--multirun"} & set(rest) else ["-m"]
    return flags + [each for each in lines if _key(each) not in own] + rest


def _key(override: str) -> str:
    return override.split("=", 1)[0].lstrip("+~")


def read_description(name: str) -> dict[str, Any]:
    """Read conf/sweep/NAME.yaml: `jobs`, values by key, and `overrides`, the same for all jobs.

    Raises InputError for an unknown name, with those there are, and for a file of another form.
    """
    folder = conf_dir() / "sweep"
    path = folder / f"{name}.yaml"
    if "/" in name or not path.is_file():
        known = ", ".join(sorted(each.stem for each in folder.glob("*.yaml")))
        raise InputError(f"There is no sweep={name}; choose one of {known}.")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or set(content) != {"jobs", "overrides"} or not isinstance(content["jobs"], dict):
        raise InputError(f"{path}: a sweep has the keys jobs (a list of values for each key) and overrides (a list).")
    for key, values in content["jobs"].items():
        if not isinstance(values, list) or not values:
            raise InputError(f"{path}: jobs.{key} is not a list of values.")
    return content
