"""`deeplab runs [FOLDER]`: the runs below a folder; imports nothing heavy."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deeplab.errors import InputError
from deeplab.reporting.run_files import STATES
from deeplab.reporting.run_list import DIED, NOT_BEGUN, Run, by_folder, find_runs, what_differs, with_scores

HELP = """List the runs below a folder: state, best mIoU before and after the CRF, steps, age, duration, what differs.

usage: deeplab runs [FOLDER] [--state STATE] [--sort time|miou] [--last N] [--json]

Runs that lie in one folder (a sweep, or all runs of one name) stand together, with the values in which they differ.
A dim mIoU is the best validation so far, not the final score. died: the process is gone and said nothing.

Examples
  deeplab runs                             all below outputs/
  deeplab runs outputs/sweeps/TIME         one sweep
  deeplab runs --state failed              running, finished, failed, preempted, died or 'not begun'
  deeplab runs --sort miou --last 10       the ten best, the best at the end; without --last, 200 runs are shown
  deeplab runs --json                      for scripts"""


def main() -> None:
    """Entry point; ends with status 1 if a run could not be read."""
    chosen = options(sys.argv[1:])
    try:
        found = find_runs(chosen.folder)
    except InputError as error:
        print(f"deeplab runs: {error}", file=sys.stderr)
        sys.exit(2)
    runs = [run for run in found.runs if chosen.state in (None, run.state)]
    if chosen.sort == "miou":
        runs = sorted(with_scores(runs, found.unreadable), key=_best)
    left_out = max(0, len(runs) - chosen.last) if chosen.last else 0
    runs = runs[left_out:]
    if chosen.sort != "miou":  # the scores of runs that are not shown need not be read
        runs = with_scores(runs, found.unreadable)
    if chosen.json:
        print(json.dumps([_plain(run) for run in runs], indent=2, ensure_ascii=False))
    else:
        _show(runs, chosen, len(found.runs))
        if left_out:
            print(f"{left_out} more are not shown; --last 0 shows all.")
    for sentence in found.unreadable:
        print(f"deeplab runs: {sentence}", file=sys.stderr)
    sys.exit(1 if found.unreadable else 0)


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; leaves with the help or, for what it does not know, with status 2."""
    parser = argparse.ArgumentParser("deeplab runs", add_help=False, allow_abbrev=False)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("outputs"), help="where to look, outputs/")
    parser.add_argument("--state", choices=(*STATES, DIED, NOT_BEGUN))
    parser.add_argument("--sort", choices=("time", "miou"), default="time")
    parser.add_argument("--last", type=int, metavar="N", default=200)
    parser.add_argument("--json", action="store_true")
    if {"-h", "--help"} & set(arguments):
        print(HELP)
        sys.exit(0)
    chosen = parser.parse_args(arguments)
    if chosen.last < 0:
        parser.error(f"--last {chosen.last}: give 0, for all runs, or how many.")
    return chosen


def _show(runs: Sequence[Run], chosen: argparse.Namespace, before: int) -> None:
    from datetime import datetime

    from rich.console import Console

    from deeplab.reporting.run_table import run_table

    if not runs:
        print(f"No run below {chosen.folder}{' fits' if before else ''}.")
        return
    console = Console()
    if not console.is_terminal:
        console.width = 200  # a file has no width of its own
    groups = {chosen.folder: runs} if chosen.sort == "miou" else by_folder(runs)
    console.print(run_table(groups, chosen.folder, datetime.now().astimezone()))


def _best(run: Run) -> float:
    return max(run.miou or 0.0, run.miou_crf or 0.0)


def _plain(run: Run) -> dict[str, Any]:
    [differing] = what_differs([run])
    return {
        "folder": str(run.folder),
        "state": run.state,
        "miou": run.miou,
        "miou_crf": run.miou_crf,
        "is_final": run.is_final,
        "step": run.step,
        "started": None if run.started is None else run.started.isoformat(),
        "seconds": run.seconds,
        "error": run.error,
        "overrides": differing,
    }


if __name__ == "__main__":
    main()
