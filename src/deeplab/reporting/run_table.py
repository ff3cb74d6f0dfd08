"""The table of `deeplab runs`."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from deeplab.reporting.run_list import DIED, NOT_BEGUN, Run, what_differs
from deeplab.reporting.tables import ABSENT, duration, percent

STYLES = {"running": "cyan", "finished": "green", "failed": "red", "preempted": "yellow", DIED: "red", NOT_BEGUN: "red"}


def run_table(groups: Mapping[Path, Sequence[Run]], top: Path, now: datetime) -> Table:
    """Return the table: runs in groups by folder, named from `top`; mIoU in percent, dim until it is final."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("run", overflow="fold")
    table.add_column("state", no_wrap=True)
    for heading in ("mIoU", "after CRF", "steps", "started", "took"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("what differs", overflow="fold")
    for folder, group in groups.items():
        table.add_section()
        table.add_row(Text(f"{_below(folder, top)}/", style="bold"), *[""] * 6, Text(_sum(group), style="dim"))
        for run, differing in zip(group, what_differs(group), strict=True):
            table.add_row(Text(f"  {_below(run.folder, folder)}"), *_cells(run, now), Text(_difference(run, differing)))
    return table


def _cells(run: Run, now: datetime) -> list[Text]:
    style = "" if run.is_final else "dim"
    of = run.facts.get("config", {}).get("optim", {}).get("max_steps")
    steps = ABSENT if run.step is None else f"{run.step}/{of}" if of else str(run.step)
    age = ABSENT if run.started is None else f"{duration((now - run.started).total_seconds())} ago"
    return [
        Text(run.state, style=STYLES.get(run.state, "")),
        Text(percent(run.miou), style=style),
        Text(percent(run.miou_crf), style=style),
        Text(steps),
        Text(age),
        Text(duration(run.seconds)),
    ]


def _difference(run: Run, differing: dict[str, Any]) -> str:
    text = ", ".join(f"{key}={_short(value)}" for key, value in differing.items())
    return "; ".join(each for each in (text, run.error) if each)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _sum(runs: Sequence[Run]) -> str:
    states = Counter(run.state for run in runs)
    return ", ".join(f"{count} {state}" for state, count in states.items())


def _below(folder: Path, top: Path) -> str:
    return str(folder.relative_to(top)) if folder.is_relative_to(top) and folder != top else str(folder)
