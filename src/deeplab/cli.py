"""The command `deeplab`: finds the entry point of a sub-command and hands the arguments on; imports nothing heavy."""

import runpy
import signal
import sys

from deeplab import __version__
from deeplab.errors import CTRL_C

COMMANDS = {
    "train": "train a network, evaluate it before and after the CRF",
    "evaluate": "score a checkpoint on any split of any data set",
    "predict": "label maps and overlays for a photo or a folder of photos",
    "crf": "refine class scores of any network, saved in files",
    "search-crf": "find the CRF's best parameters for a network (section 4.1)",
    "compare": "one page: which variant won, by how much, how sure that is",
    "data check": "read every file of a data set, report what is wrong with it",
    "data prepare": "bring a data set's files to their places, make its masks",
    "data validate": "refuse what a test server would refuse",
    "runs": "list runs: state, best mIoU, what differs, age",
    "rerun": "train once more as a run's folder records it",
    "weights convert": "weights of Caffe, torchvision and other DeepLabs in this project's form",
    "model": "layers, parameters and multiply-adds of a configuration",
}
# Where the name differs; deeplab.crf is the CRF itself.
MODULES = {
    "crf": "refine_scores",
    "search-crf": "search_crf",
    "data check": "check_data",
    "data prepare": "prepare_data",
    "data validate": "validate_archive",
    "weights convert": "convert_weights",
}

HELP = """DeepLab v2: atrous convolution, ASPP, fully connected CRF.

usage: deeplab COMMAND [KEY=VALUE ...]

{commands}

Every command takes Hydra overrides; `deeplab COMMAND --help` lists them, `--cfg job` prints the configuration,
`-m` runs one job for every combination of comma-separated values.

  deeplab train experiment=demo
  deeplab evaluate checkpoint=outputs/demo/TIME/checkpoints/best.ckpt
  deeplab predict checkpoint=best.ckpt input=photos output=labels"""


def main() -> None:
    """Run `deeplab COMMAND ...`; unknown commands end with status 2."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        print(HELP.format(commands="\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())))
        sys.exit(0 if arguments else 2)
    if arguments[0] == "--version":
        print(f"deeplab {__version__}")
        return
    # The longer name first: some commands have two words, such as `data check`.
    command = next((" ".join(arguments[:n]) for n in (2, 1) if " ".join(arguments[:n]) in COMMANDS), None)
    if command is None:
        close = [name for name in COMMANDS if name.startswith(f"{arguments[0]} ")] or list(COMMANDS)
        print(f"deeplab: there is no command '{arguments[0]}'; choose one of {', '.join(close)}.", file=sys.stderr)
        sys.exit(2)
    del sys.argv[1 : 2 + command.count(" ")]
    # As `python -m deeplab.COMMAND`: Lightning starts the processes of the other devices by the main module's name.
    try:
        runpy.run_module(f"deeplab.{MODULES.get(command, command)}", run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:
        print(f"deeplab {command}: Stopped by Ctrl-C.", file=sys.stderr)
        sys.exit(CTRL_C)
    finally:
        # All is written. Python takes a second to leave, and would answer Ctrl-C by a traceback.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
