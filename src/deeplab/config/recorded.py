"""What `run.json` says of a run's configuration, and the overrides that bring it back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from deeplab.config.explain import conf_dir, primary_config
from deeplab.config.preflight import to_plain
from deeplab.errors import InputError
from deeplab.reporting.repetition import ABSENT, config_differences
from deeplab.reporting.run_files import is_of_training, read_run

Plain = dict[str, Any]
# A run that is repeated starts from the beginning.
NOT_REPEATED = ("resume", "rerun_of")


def recorded(plain: Plain) -> Plain:
    """Return what `run.json` gets: the resolved configuration, the overrides, the groups' choices, where it was run."""
    facts: Plain = {"config": plain}
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        facts |= {
            "overrides": list(hydra.overrides.task),
            "choices": {key: value for key, value in hydra.runtime.choices.items() if not key.startswith("hydra")},
            "config_dirs": [each.path for each in hydra.runtime.config_sources if each.provider == "command-line"],
            "cwd": hydra.runtime.cwd,
        }
        if not OmegaConf.is_missing(hydra.job, "num"):  # else no job of a sweep
            facts["sweep"] = Path(hydra.sweep.dir).name
    return facts


def arguments_to_repeat(folder: Path, given: list[str]) -> list[str]:
    """Return the arguments of `deeplab train` that repeat the run in `folder`, with `given` laid over.

    Where the files in `conf` say something else today, the recorded values are given as overrides.

    Raises InputError if the folder holds no training's record.
    """
    record = read_run(folder)
    if "overrides" not in record or not is_of_training(record):
        raise InputError(
            f"{folder}: its run.json holds no configuration of deeplab train; it is of another command or an older "
            "version."
        )
    before = [each for each in record["overrides"] if _key(each) not in NOT_REPEATED]
    sources = [argument for each in record["config_dirs"] for argument in ("--config-dir", each)]
    today = to_plain(_composed(before, record["config_dirs"]))
    pins = list(_pins(record["config"], today, [_key(each) for each in given], record["choices"]))
    return [*sources, *before, *pins, *given, f"rerun_of={json.dumps(str(folder.resolve()), ensure_ascii=False)}"]


def _composed(overrides: list[str], config_dirs: list[str]) -> DictConfig:
    search = ",".join(json.dumps(f"file://{each}") for each in config_dirs)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(primary_config("train"), [*overrides, *([f"hydra.searchpath=[{search}]"] if search else [])])


def _pins(recorded: Plain, today: Plain, given: list[str], choices: Plain) -> Iterator[str]:
    """Overrides that give today's configuration the recorded values, but for what the given ones decide."""
    if "experiment" in given:
        return
    sections = [key.replace("/", ".") for key in given if key in choices]
    for key, then, now in config_differences(recorded, today):
        decided = key in NOT_REPEATED or any(f"{key}.".startswith(f"{section}.") for section in sections)
        # What only one of the two has cannot be given; the new run's log says so.
        if not decided and ABSENT not in (then, now):
            yield f"{key}={_value(then)}"


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~").partition("@")[0]


def _value(value: Any) -> str:
    """A value in the grammar of Hydra's overrides."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_value, value)) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
