"""Runs an entry point under Hydra and turns a user's mistake into one sentence and exit status 2."""

import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from deeplab.config import schema
from deeplab.errors import InputError

PATH_KEYS = re.compile(
    r"^(\+{0,2}(?:[\w@/.]+\.)?(?:checkpoint|input|output|path|root|resume|images|labels|masks|probs))=(.*)$", re.S
)
log = logging.getLogger(__name__)


def conf_dir() -> Path:
    """The folder `conf`: beside this package in an installed wheel, at the repository's top in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def quote_paths(arguments: list[str]) -> list[str]:
    """Quote the value of every path key, so that Hydra takes spaces, brackets, commas, `=` and `#` as they are.

    Left alone: values that are quoted already, `null`, `???`, interpolations, and sweeps over paths (`-m` with commas).
    """
    sweeps = any(flag in arguments for flag in ("-m", "--multirun"))
    return [_quoted(argument, sweeps) for argument in arguments]


def _quoted(argument: str, sweeps: bool) -> str:
    match = PATH_KEYS.match(argument)
    if not match:
        return argument
    key, value = match.groups()
    if value[:1] in ("'", '"') or value in ("", "null", "???") or "${" in value or (sweeps and "," in value):
        return argument
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"{key}='{escaped}'"


def run(command: str, task: Callable[[DictConfig, Path], None]) -> None:
    """Compose `conf/<command>.yaml` with the command line's overrides and call `task(config, run folder)`.

    A user's mistake (InputError, or what Hydra refuses) is printed as one sentence and ends with status 2; anything
    else is written to the run's log with its traceback and raised.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra would otherwise cut our exceptions short and exit by itself
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would contact the network
    sys.argv[1:] = quote_paths(sys.argv[1:])
    schema.register()

    def job(config: DictConfig) -> None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            task(config, folder)
        except InputError as error:
            log.error("deeplab %s: %s", command, error)
            if HydraConfig.get().mode is RunMode.RUN:
                sys.exit(2)  # an exception would make Hydra print the overrides too
            raise
        except Exception:
            log.exception("The run in %s failed", folder)
            raise

    main = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command.replace("-", "_"))(job)
    try:
        main()
    except InputError as error:
        _leave(command, str(error))
    except (HydraException, OmegaConfBaseException) as error:
        _leave(command, explain(error))


def explain(error: Exception) -> str:
    """Hydra's or OmegaConf's message as one sentence with the remedy."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "Available options in" in str(error):
        group = next(line for line in lines if line.startswith("Available options in")).split("'")[1]
        start = next(i for i, line in enumerate(lines) if line.startswith("Available options in"))
        options = [line for line in lines[start + 1 :] if not line.startswith(("Config search path", "provider="))]
        return f"{lines[0].rstrip('.')}; {group} can be: {', '.join(options)}."
    cause = error.__cause__
    detail = f" ({str(cause).splitlines()[0]})" if cause is not None and str(cause) not in str(error) else ""
    kept = [line for line in lines if not line.startswith(("full_key:", "object_type=", "reference_type="))]
    return " ".join(kept) + detail


def _leave(command: str, sentence: str) -> None:
    print(f"deeplab {command}: {sentence}", file=sys.stderr)
    sys.exit(2)
