"""Runs an entry point under Hydra and turns a user's mistake into one sentence and exit status 2."""

import atexit
import gc
import logging
import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from deeplab.config import schema, sweep_arguments, sweep_jobs, sweep_launcher
from deeplab.config.common_folder import in_common_folder, tell_common_folder
from deeplab.config.continue_run import continued
from deeplab.config.explain import added_keys, conf_dir, explain, primary_config
from deeplab.config.help import help_text
from deeplab.config.lost_reader import told_if_a_process_is_lost
from deeplab.config.options import apart, check_options
from deeplab.config.refused_call import FolderBefore, named_folder
from deeplab.errors import CTRL_C, InputError, RunEndedError
from deeplab.sweeping.sweep import SweepStoppedError

# `checkpoint`, `input` and `output` stand at the top only: model.input is a section.
PATH_KEYS = re.compile(
    r"^(\+{0,2}(?:(?:checkpoint|input|output|resume|split|labels|archives?|ids|figures|source|target)|"
    r"(?:[\w@/.]+\.)?(?:path|folder|root|images|masks|lists|probs|train_split|val_split|dir)))=(.*)$",
    re.S,
)
log = logging.getLogger(__name__)

Task = Callable[[DictConfig, Path], float | None]  # the score, for sweepers that look for the best


def quote_paths(arguments: list[str]) -> list[str]:
    """Quote the value of every path key, so that Hydra takes spaces, brackets, commas, `=` and `#` as they are.

    Left alone: values that are quoted already, `null`, `???`, interpolations, lists of mask folders, and sweeps over
    paths (`-m` with commas).
    """
    sweeps = _sweeps(arguments)
    return [_quoted(argument, sweeps) for argument in arguments]


def _sweeps(arguments: list[str]) -> bool:
    return any(flag in arguments for flag in ("-m", "--multirun"))


def _quoted(argument: str, sweeps: bool) -> str:
    match = PATH_KEYS.match(argument)
    if not match:
        return argument
    key, value = match.groups()
    if value == "" and not key.endswith("lists"):
        raise InputError(f"{key}= is empty, as from a variable that is not set; give a path.")
    if value[:1] in ("'", '"') or value in ("", "null", "???") or "${" in value or (sweeps and "," in value):
        return argument
    if key.endswith(("masks", "archives")) and value.startswith("["):
        return argument
    if value.startswith("~") and os.path.expanduser(value) == value:  # noqa: PTH111 - pathlib's raises
        value = str(Path.cwd() / value)  # nobody's home, so a name like any other
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"{key}='{escaped}'"


def run(command: str, task: Task, imports: str | None = None) -> None:
    """Compose `conf/<command>.yaml` with the command line's overrides and call `task(config, run folder)`.

    `imports` names the module that brings most of what `task` imports (`import_uncollected`).

    A user's mistake (InputError, or what Hydra refuses) is printed as one sentence and ends with status 2, a run that
    was ended from outside (RunEndedError) with its status; anything else is written to the run's log with its
    traceback and raised.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra would otherwise cut our exceptions short and exit by itself
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would contact the network
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # what a process that is waited for means is said by us
    if getattr(sys.modules["__main__"], "__spec__", None) is not None:
        sys.argv[0] = f"deeplab {command}"  # for messages and run.json; else Lightning needs the file's path there
    schema.register()
    sweep_launcher.register()
    # Python's exit would look for garbage among all that was imported, which takes a second.
    atexit.register(gc.freeze)
    job = _Job(command, task, imports)
    try:
        import_from_the_same_places()
        arguments = sys.argv[1:]
        if command == "train":
            arguments = sweep_arguments.expand(continued(arguments))
            sweep_launcher.check_installed(arguments)
        arguments = in_common_folder(arguments)
        job.before = FolderBefore(named_folder(arguments))
        check_options(arguments)
        options, overrides = apart(quote_paths(arguments))
        sys.argv[1:] = options + overrides  # Hydra's parser refuses `seed=0,1 -m name=x`
        if {"-h", "--help"} & set(sys.argv):
            page = help_text(command, overrides)
            print(page, flush=True)  # here, and not at Python's exit, a closed pipe can be answered
        else:
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=primary_config(command))(job.run)()
            if sweep_jobs.finish():
                sys.exit(1)
    except sweep_jobs.JobFailedError:
        sweep_jobs.finish()
        sys.exit(1)
    except SweepStoppedError as stopped:
        sweep_jobs.finish()
        sys.exit(128 + stopped.number)
    except InputError as error:
        tell_common_folder(None)
        _leave(command, None if job.told else str(error))
    except RunEndedError as error:
        sys.exit(error.status)
    except KeyboardInterrupt:
        print(f"deeplab {command}: Stopped by Ctrl-C.", file=sys.stderr)
        sys.exit(CTRL_C)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        tell_common_folder(None)
        _leave(command, explain(error))
    except BrokenPipeError:  # who reads what is printed, as `head`, has enough
        if job.started:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where Python's exit writes the rest
        sys.exit(1)
    except (OSError, ValueError) as error:
        if job.started:
            raise
        tell_common_folder(None)
        _leave(command, _no_folder(error) if isinstance(error, OSError) else explain(error))


class _Job:
    """The function that Hydra calls, once a job: `started` and `told` say how far it came."""

    def __init__(self, command: str, task: Task, imports: str | None) -> None:
        self.command = command
        self.task = task
        self.imports = imports
        self.before = FolderBefore(None)
        self.started = False
        self.told = False
        """Whether the mistake was printed already."""

    def run(self, config: DictConfig) -> float | None:
        self.started = True
        folder = Path(HydraConfig.get().runtime.output_dir)
        tell_common_folder(folder)
        _hush_all_but_the_first()
        try:
            for sentence in added_keys(config):
                raise InputError(sentence)
            if self.imports is not None:
                import_uncollected(self.imports)
            with told_if_a_process_is_lost():
                return self.task(config, folder)
        except (InputError, RunEndedError) as error:
            if not getattr(error, "told", False):  # by process 0, to all of several
                log.error("deeplab %s: %s", self.command, error)
            if isinstance(error, InputError) and HydraConfig.get().mode is RunMode.RUN and _is_alone():
                self.before.bring_back(folder)
            if HydraConfig.get().mode is RunMode.RUN:
                # an exception would make Hydra print the overrides too
                sys.exit(error.status if isinstance(error, RunEndedError) else 2)
            self.told = True
            raise
        except Exception:
            log.exception("The run in %s failed", folder)
            raise


def import_from_the_same_places() -> None:
    """Keep the current folder off the import path of the processes that this one starts, unless it is on ours.

    The jobs of a sweep, here and in Slurm's queue, and the processes of DDP are `python -m`, which would look there
    first and take a folder `deeplab`, such as a clone, for this package. A console script does not look there.
    """
    if not any(os.path.realpath(each or ".") == str(Path.cwd().resolve()) for each in sys.path):
        os.environ["PYTHONSAFEPATH"] = "1"


def import_uncollected(module: str) -> None:
    """Import without a look for garbage: Lightning makes 650 000 objects that stay, and Python would go through them
    again and again, which takes a third of the time.
    """
    gc.disable()
    try:
        import_module(module)
    finally:
        gc.enable()


def _is_alone() -> bool:
    """Whether this is no job of a sweep, whose folder is the sweep's, and the first process."""
    from deeplab.reporting.first_process import is_first_process

    return OmegaConf.is_missing(HydraConfig.get().job, "num") and is_first_process()


def _hush_all_but_the_first() -> None:
    """Leave the console to process 0 of several; the others still write to their own logs."""
    from deeplab.reporting.first_process import is_first_process

    for handler in logging.root.handlers:
        if type(handler) is logging.StreamHandler and not is_first_process():
            handler.setLevel(logging.ERROR)


def _no_folder(error: OSError) -> str:
    key = "hydra.sweep.dir" if _sweeps(sys.argv) else "hydra.run.dir"
    place = "" if error.filename is None else f" {error.filename}"  # a full disk shows in writing only
    return f"The run's folder{place} cannot be written ({error.strerror}); set {key} to another place."


def _leave(command: str, sentence: str | None) -> NoReturn:
    if sentence is not None:
        print(f"deeplab {command}: {sentence}", file=sys.stderr)
    sys.exit(2)
