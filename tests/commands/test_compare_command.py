"""`deeplab compare` as a program: paths among the options, what it writes, how it refuses."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeplab.compare import with_runs, write_pages
from deeplab.errors import InputError
from deeplab.reporting.run_files import metrics_document, write_json, write_per_picture

HEAVY = ("albumentations", "pytorch_lightning", "torch", "torchmetrics", "wandb")
RUN = """
import sys
from deeplab import compare
{before}
sys.argv[0] = "deeplab"
try:
    compare.main()
finally:
    print("imported:", *[name for name in {heavy!r} if name in sys.modules])
"""


def scored_run(folder: Path, seed: int) -> Path:
    matrices = np.random.default_rng(seed).integers(1, 50, (4, 2, 2))
    config = {
        "name": "own",
        "seed": seed,
        "model": {"head": {"_target_": "deeplab.models.heads.ASPP", "rates": [1, 2]}},
    }
    document = metrics_document(
        matrices.sum(axis=0),
        None,
        class_names=["ground", "crack"],
        num_images=4,
        num_skipped=0,
        num_crf_skipped=0,
        config=config,
        seconds=1.0,
        split="val",
    )
    folder.mkdir(parents=True)
    write_json(folder / "metrics.json", document)
    write_per_picture(folder / "per_picture.npz", list("abcd"), list(matrices))
    return folder


def deeplab_compare(*words: str, cwd: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    code = RUN.format(heavy=HEAVY, before=before)
    return subprocess.run([sys.executable, "-c", code, *words], cwd=cwd, capture_output=True, text=True, check=False)


def test_paths_are_told_from_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=0.1").mkdir()
    words = ["outputs/a b", "output=x", "lr=0.1", "it's", "--cfg", "job", "bootstrap=100"]
    assert with_runs(words) == [
        "output=x", "--cfg", "job", "bootstrap=100", r"runs=['outputs/a b','lr=0.1','it\'s']",
    ]  # fmt: skip
    assert with_runs(["bootstrap=100"]) == ["bootstrap=100"]


def test_awkward_folders_are_compared_without_the_heavy_libraries(tmp_path: Path) -> None:
    names = ["lr=0.1,a", "My Runs (1)", "Müller's"]
    for seed, name in enumerate(names):
        scored_run(tmp_path / name, seed)
    done = deeplab_compare(*names, "output=the page", "bootstrap=100", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rpartition("imported:")[2].split() == []
    document = json.loads((tmp_path / "the page" / "report.json").read_text())
    assert [Path(run["folder"]).name for run in document["runs"]] == names
    assert document["variants"][0]["seeds"] == [0, 1, 2]
    assert {path.name for path in (tmp_path / "the page").iterdir()} == {"report.html", "report.json", "report.md"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere"], "nowhere: there is no such folder"),
        ([], "Name the folders of runs or sweeps"),
        (["empty"], "empty holds no run"),
        (["run", "bootstrap=5"], "bootstrap=5"),
        (["run", "pictures=41"], "pictures=41"),
        (["run", "seed=-1"], "seed=-1"),
        (["run", "figures=a file"], "figures=a file is a file; name a folder"),
        (["run", "wandb=true"], "none of these runs was logged"),
        (["run", "colour=red"], "There is no key colour"),
    ],
)
def test_mistakes_are_said_in_a_sentence(
    words: list[str], sentence: str, run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a file").touch()
    scored_run(tmp_path / "run", 0)
    run("compare", *words, *(["output=out"] if words else [])).refused("deeplab compare: ", sentence)
    assert not (tmp_path / "out").exists()


def test_either_all_pages_are_written_or_none(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("of before")
    (tmp_path / "report.html").mkdir()  # so that the last of them cannot take its place
    with pytest.raises(InputError, match=r"report\.html"):
        write_pages(tmp_path, {"report.json": "new", "report.md": "new", "report.html": "new"})
    assert (tmp_path / "report.json").read_text() == "of before"
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "report.html"}


# Where an installation without the extra ends.
WITHOUT_WORKSPACES = "sys.modules['wandb_workspaces'] = None"
# The last page's text is asked for when the others are written.
CTRL_C = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests were started in the background
import deeplab.comparison_views.page as views
views.page = lambda document, gallery: type("Text", (), {"encode": lambda self: os.kill(os.getpid(), signal.SIGINT)})()
"""


def test_wandb_report_without_its_extra(tmp_path: Path) -> None:
    scored_run(tmp_path / "run", 0)
    done = deeplab_compare("run", "output=out", "wandb=true", cwd=tmp_path, before=WITHOUT_WORKSPACES)
    assert done.returncode == 2
    remedy = "pip install -c constraints.txt '.[wandb]'"
    assert done.stderr == f"deeplab compare: wandb=true needs the extra wandb: {remedy}.\n"
    assert not (tmp_path / "out").exists()


def test_ctrl_c_while_the_pages_are_written_leaves_those_of_before(tmp_path: Path) -> None:
    scored_run(tmp_path / "run", 0)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").write_text("of before")
    done = deeplab_compare("run", "output=out", "bootstrap=100", cwd=tmp_path, before=CTRL_C)
    assert done.returncode == 130
    assert done.stderr == "deeplab compare: Stopped by Ctrl-C.\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.json"]
    assert (tmp_path / "out" / "report.json").read_text() == "of before"
