"""Runs as `deeplab runs` finds them."""

import json
import os
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deeplab.errors import InputError
from deeplab.reporting.liveness import process_facts
from deeplab.reporting.run_files import write_json
from deeplab.reporting.run_list import Found, Run, by_folder, find_runs, what_differs, with_scores
from deeplab.reporting.run_table import run_table
from deeplab.reporting.tables import duration

DEAD = process_facts() | {"start": -1}
CONFIG = {"seed": 0, "optim": {"lr": 0.1, "max_steps": 500}}


def write(folder: Path, state: str = "finished", metrics: Any = None, **facts: Any) -> Path:
    own = {"state": state, "started": "2026-01-02T03:04:05+0000", "seconds": 60.0, "process": process_facts()}
    write_json(folder / "run.json", own | {"config": CONFIG} | facts)
    if metrics is not None:
        write_json(folder / "metrics.json", metrics)
    return folder


def listed(folder: Path) -> Found:
    found = find_runs(folder)
    found.runs = with_scores(found.runs, found.unreadable)
    return found


def states(folder: Path) -> dict[str, str]:
    return {str(run.folder.relative_to(folder)): run.state for run in find_runs(folder).runs}


def test_every_state_is_told_apart(tmp_path: Path) -> None:
    for state in ("finished", "failed", "preempted", "running"):
        write(tmp_path / "a" / state, state)
    write(tmp_path / "a" / "killed", "running", process=DEAD)
    old = write(tmp_path / "elsewhere", "running", process=DEAD | {"space": "another machine"})
    os.utime(old / "run.json", (0, time.time() - 86400))
    (tmp_path / "refused" / ".hydra").mkdir(parents=True)
    (tmp_path / "refused" / "train.log").write_text("deeplab train: no")
    (tmp_path / "notes").mkdir()
    assert states(tmp_path) == {
        "a/finished": "finished",
        "a/failed": "failed",
        "a/preempted": "preempted",
        "a/running": "running",
        "a/killed": "died",
        "elsewhere": "died",
        "refused": "not begun",
    }
    assert states(tmp_path / "a" / "failed") == {".": "failed"}


def test_final_scores_beat_the_best_so_far(tmp_path: Path) -> None:
    text = "step,epoch,val/miou,val/miou_crf\n100,0,,\n200,0,0.25,0.5\n300,1,0.375,nan\n350,1,,\n4"
    write(tmp_path / "running", "running").joinpath("metrics.csv").write_text(text)
    write(tmp_path / "done", metrics={"miou": 0.5, "miou_crf": None}, steps=500)
    (tmp_path / "done" / "metrics.csv").write_text(text)
    write(tmp_path / "early", "running").joinpath("metrics.csv").write_text("")
    runs = {run.folder.name: run for run in listed(tmp_path).runs}
    assert [(r.miou, r.miou_crf, r.step, r.is_final) for r in (runs["running"], runs["done"], runs["early"])] == [
        (0.375, 0.5, 350, False),
        (0.5, None, 500, True),
        (None, None, None, False),
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [("run.json", "{"), ("run.json", '{"state": "x"}'), ("run.json", '{"state": "failed", "started": 3}'),
     ("metrics.json", "[]")],
)  # fmt: skip
def test_a_damaged_run_is_named_and_the_others_are_listed(name: str, content: str, tmp_path: Path) -> None:
    write(tmp_path / "sound")
    (write(tmp_path / "damaged") / name).write_text(content)
    found = listed(tmp_path)
    assert [run.folder.name for run in found.runs] == ["sound"]
    [sentence] = found.unreadable
    assert f"damaged/{name}" in sentence


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_runs(tmp_path / "none")


def run(folder: str, overrides: list[str], choices: Any = None, **config: Any) -> Run:
    facts = {"overrides": overrides, "choices": choices or {}, "config": config}
    return Run(Path(folder), "finished", facts, started=datetime(2026, 1, 1).astimezone())


def test_what_differs_is_what_their_overrides_lead_to() -> None:
    runs = [
        run("s/0", ["experiment=x", "model/head=a", "optim.lr=0.1"], {"model/head": "a"}, optim={"lr": 0.1}, seed=0),
        run("s/1", ["experiment=x", "optim.lr=0.10", "+seed=1"], {"model/head": "b"}, optim={"lr": 0.1}, seed=1),
        run("s/2", ["experiment=x", "hydra.x=1", "name=n"], {"model/head": "b"}, optim={"lr": 0.1}, seed=0),
    ]
    assert what_differs(runs) == [
        {"model/head": "a", "seed": 0},
        {"model/head": "b", "seed": 1},
        {"model/head": "b", "seed": 0},
    ]
    assert what_differs(runs[:1]) == [{"model/head": "a", "optim.lr": 0.1}]
    two = [run(f"s/{name}", ["experiment=x"], {"experiment": name}) for name in ("aspp_s", "aspp_l")]
    assert what_differs(two) == [{"experiment": "aspp_s"}, {"experiment": "aspp_l"}]
    assert what_differs([run("a/0", ["optim.new=1"]), run("a/1", [])]) == [{}, {}]  # neither configuration has it


def test_runs_of_one_folder_stand_together_the_newest_group_last() -> None:
    runs = [run("a/0", []), run("b/0", []), run("a/1", [])]
    assert [(str(key), [r.folder.name for r in group]) for key, group in by_folder(runs).items()] == [
        ("b", ["0"]),
        ("a", ["0", "1"]),
    ]


def test_the_table_shows_it_all(tmp_path: Path) -> None:
    facts = {"overrides": ["seed=1"], "choices": {}}
    write(tmp_path / "s" / "0", metrics={"miou": 0.625, "miou_crf": 0.75}, **facts, steps=500)
    write(tmp_path / "s" / "1", "failed", **facts, config=CONFIG | {"seed": 1}, error="[red]out of memory")
    runs = listed(tmp_path).runs
    console = Console(width=160, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    console.print(run_table(by_folder(runs), tmp_path, runs[0].started + timedelta(hours=3, minutes=5)))
    text = console.export_text()
    for part in ("s/", "1 finished, 1 failed", "62.50", "75.00", "500/500", "3 h 05 min ago", "1 min", "seed=0"):
        assert part in text
    assert "seed=1; [red]out of memory" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (59.4, "59 s"), (60, "1 min"), (3600, "1 h 00 min"), (86399, "23 h 59 min"), (90000, "1 d 1 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


DAMAGED_TABLES = {
    "a NUL": ("step,val/miou\n10,\x000.5\n20,0.25\n", (0.25, 20)),
    "words": ("step,val/miou\n10,abc\nxyz,0.5\n", (0.5, None)),
    "no heading": ("\n\n\n", (None, None)),
    "a digit that is none": ("step,val/miou\n²,0.5\n", (0.5, None)),
    "infinity": ("step,val/miou\n10,inf\n20,0.5\n", (0.5, 20)),
    "a step of 5000 digits": (f"step,val/miou\n{'9' * 5000},0.5\n", (0.5, None)),
}


@pytest.mark.parametrize("name", DAMAGED_TABLES)
def test_a_damaged_table_tells_what_can_be_read(name: str, tmp_path: Path) -> None:
    text, expected = DAMAGED_TABLES[name]
    write(tmp_path / "running", "running").joinpath("metrics.csv").write_text(text, encoding="utf-8")
    (run,) = listed(tmp_path).runs
    assert (run.miou, run.step) == expected


def test_an_endless_cell_and_a_link_to_nowhere_are_named(tmp_path: Path) -> None:
    write(tmp_path / "endless", "running").joinpath("metrics.csv").write_text("step,val/miou\n1," + "x" * 200_000)
    write(tmp_path / "good")
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / "run.json").symlink_to("run.json")
    found = listed(tmp_path)
    assert [run.folder.name for run in found.runs] == ["good"]
    assert [("/endless/" in each, "/lost" in each) for each in found.unreadable] == [(False, True), (True, False)]


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [("run.json", "seconds", "long"), ("run.json", "config", [1]), ("metrics.json", "miou", "0.5")],
)
def test_a_value_of_another_type_is_named(name: str, key: str, value: Any, tmp_path: Path) -> None:
    folder = write(tmp_path / "odd", metrics={"miou": 0.5, "miou_crf": None})
    write_json(folder / name, json.loads((folder / name).read_text()) | {key: value})
    found = listed(tmp_path)
    assert found.runs == []
    assert f"odd/{name}: {key} is" in found.unreadable[0]
