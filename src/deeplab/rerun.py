"""`deeplab rerun RUN_DIR [KEY=VALUE ...]`: train once more as a run's folder records it, into a new folder."""

import runpy
import sys
from pathlib import Path

from deeplab.errors import InputError

HELP = """Train once more as a run's folder records it, into a new folder.

usage: deeplab rerun RUN_DIR [GROUP=CHOICE ...] [KEY=VALUE ...]

The recorded values are used even where the files in conf/ say something else today. The new run's log says in what
commit, uncommitted changes, environment, data and configuration differ from the recorded run.

Examples
  deeplab rerun outputs/demo/TIME                            as it was
  deeplab rerun outputs/demo/TIME seed=1                     with another seed
  deeplab rerun outputs/sweeps/TIME/3 data.root=VOCdevkit    the data lie elsewhere now

-m runs one job for every combination of comma-separated values; --cfg job prints the configuration."""


def main() -> None:
    """Entry point."""
    arguments = sys.argv[1:]
    if not arguments or {"-h", "--help"} & set(arguments):
        print(HELP)
        sys.exit(0 if arguments else 2)
    from deeplab.config.options import apart, check_options

    try:
        check_options(arguments)
        flags, given = apart(arguments)
        if not given:
            raise InputError("no run is named; give the folder of a run, which holds run.json.")
        sys.argv = ["deeplab train", *flags, *_arguments(Path(given[0]).expanduser(), given[1:])]
    except InputError as error:
        print(f"deeplab rerun: {error}", file=sys.stderr)
        sys.exit(2)
    runpy.run_module("deeplab.train", run_name="__main__", alter_sys=True)


def _arguments(folder: Path, given: list[str]) -> list[str]:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from deeplab.config import schema
    from deeplab.config.explain import explain
    from deeplab.config.launch import quote_paths
    from deeplab.config.recorded import arguments_to_repeat

    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; name the folder of a run, which holds run.json.")
    schema.register()
    try:
        return arguments_to_repeat(folder, quote_paths(given))
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(f"{folder} cannot be composed with today's conf/: {explain(error)}") from error


if __name__ == "__main__":
    main()
