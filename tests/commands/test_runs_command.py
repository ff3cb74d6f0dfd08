"""`deeplab runs`: what it prints, its status, and what it imports."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deeplab.reporting.run_files import write_json


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    for number, miou in enumerate((0.5, 0.25, 0.75)):
        folder = tmp_path / "outputs" / "demo" / str(number)
        facts = {"state": "finished", "started": f"2026-01-0{number + 1}T00:00:00+0000", "seconds": 5.0}
        more = {"overrides": [f"seed={number}"], "choices": {}, "config": {"seed": number}}
        write_json(folder / "run.json", facts | more)
        write_json(folder / "metrics.json", {"miou": miou, "miou_crf": miou + 0.125})
    return tmp_path / "outputs"


def test_the_list_of_what_lies_in_outputs(run: Any, outputs: Path) -> None:
    lines = run("runs").worked().out.splitlines()
    rows = [line.split() for line in lines if "seed=" in line]
    assert [(row[0], row[1], row[2], row[3], row[-1]) for row in rows] == [
        ("0", "finished", "50.00", "62.50", "seed=0"),
        ("1", "finished", "25.00", "37.50", "seed=1"),
        ("2", "finished", "75.00", "87.50", "seed=2"),
    ]


def test_sorted_cut_filtered_and_for_scripts(run: Any, outputs: Path) -> None:
    found = json.loads(run("runs", "outputs/demo", "--sort", "miou", "--last", "2", "--json").worked().out)
    assert [(Path(each["folder"]).name, each["miou_crf"], each["overrides"]) for each in found] == [
        ("0", 0.625, {"seed": 0}),
        ("2", 0.875, {"seed": 2}),
    ]
    assert "1 more are not shown" in run("runs", "--last", "2").out
    assert run("runs", "--state", "failed").worked().out == "No run below outputs fits.\n"
    (outputs / "empty").mkdir()
    assert run("runs", "outputs/empty").worked().out == "No run below outputs/empty.\n"


def test_what_cannot_be_read_is_named_with_status_1(run: Any, outputs: Path) -> None:
    (outputs / "demo" / "1" / "run.json").write_text("{")
    result = run("runs")
    result.refused("demo/1/run.json", "not valid JSON", code=1)
    assert "seed=2" in result.out
    run("runs", "elsewhere").refused("elsewhere", "no such folder")


def test_scores_of_runs_that_are_not_shown_are_not_read(run: Any, outputs: Path) -> None:
    (outputs / "demo" / "0" / "metrics.json").write_text("{")
    assert "not valid JSON" not in run("runs", "--last", "2").worked().out
    run("runs", "--last", "2", "--sort", "miou").refused("demo/0/metrics.json", "not valid JSON", code=1)
    run("runs").refused("demo/0/metrics.json", "not valid JSON", code=1)


def test_it_imports_nothing_heavy(outputs: Path) -> None:
    code = (
        "import sys, runpy\ntry: runpy.run_module('deeplab.runs', run_name='__main__')\nexcept SystemExit: pass\n"
        "print('imported', [name for name in ('torch', 'hydra', 'pytorch_lightning', 'wandb') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, outputs], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("imported []\n")
