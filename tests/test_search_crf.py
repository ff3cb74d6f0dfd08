"""`deeplab search-crf` and its configuration."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

from deeplab import search_session
from deeplab.config import schema
from deeplab.config.launch import conf_dir
from deeplab.config.preflight import to_plain
from deeplab.crf_search.cells import grid
from deeplab.errors import InputError
from deeplab.search_inputs import check_same, open_inputs


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    schema.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield
    GlobalHydra.instance().clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("images", "labels", "probs"):
        (tmp_path / name).mkdir()
    for number in range(4):
        label = np.repeat(np.arange(12, dtype=np.uint8) // 4, 10).reshape(12, 10)
        image = (60 * label[..., None] + rng.integers(0, 30, (12, 10, 3))).astype(np.uint8)
        logits = 2.0 * (label == np.arange(3)[:, None, None]) + rng.normal(0, 1, (3, 12, 10))
        Image.fromarray(image).save(tmp_path / "images" / f"p{number}.png")
        Image.fromarray(label).save(tmp_path / "labels" / f"p{number}.png")
        np.savez(tmp_path / "probs" / f"p{number}.npz", logits=logits)
    return tmp_path


def config(folder: Path, *overrides: str):
    places = [f"{key}={folder / key}" for key in ("images", "labels", "probs")]
    return compose("search_crf", overrides=[*places, *overrides])


def test_the_default_grid_is_the_papers(folder: Path) -> None:
    own = to_plain(config(folder))
    assert len(grid(own["search"]["coarse"])) == 128
    assert own["search"]["num_pictures"] == 100


@pytest.mark.parametrize(("backend", "cores", "processes"), [("native", 16, 16), ("cuda", 16, 3), ("cuda", 2, 2)])
def test_a_gpu_is_shared_by_few(backend: str, cores: int, processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_session, "default_num_workers", lambda: cores)
    assert search_session.default_processes(backend) == processes


def test_folders_of_any_network(folder: Path) -> None:
    inputs = open_inputs(config(folder, "crf=kazuto", "crf.iterations=4"))
    assert inputs.source.ids == ["p0", "p1", "p2", "p3"]
    assert inputs.num_classes == 3
    assert inputs.fixed.iterations == 4


def test_pictures_without_mask_or_scores_are_left_out(folder: Path) -> None:
    (folder / "labels" / "p0.png").unlink()
    (folder / "probs" / "p1.npz").unlink()
    assert open_inputs(config(folder)).source.ids == ["p2", "p3"]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["checkpoint=a.ckpt"], "one of the two"),
        (["probs=null"], "one of the two"),
        (["labels=/nowhere"], "labels=/nowhere: there is no such folder"),
        (["labels=null"], "labels=None: there is no such folder; images and labels go together"),
        (["images=null", "labels=null"], "probs needs the pictures and their labels"),
        (["images=null", "labels=null", "data=scenes"], "no scores of any picture"),
        (["probs=/nowhere"], "probs=/nowhere: there is no such folder"),
        (["+crf.iteration=4"], "iteration"),
        (["+crf.iterations=-1"], "iterations"),
        (["kind=scores"], "kind=scores: choose probabilities or logits"),
        (["search.split=val"], "have no splits"),
    ],
)
def test_mistakes_are_one_sentence(folder: Path, overrides: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        open_inputs(config(folder, *overrides))
    assert "\n" not in str(caught.value)


def test_a_search_goes_on_with_the_same_inputs_only(folder: Path, tmp_path: Path) -> None:
    check_same(tmp_path / "run", open_inputs(config(folder)).identity)
    check_same(tmp_path / "run", open_inputs(config(folder, "search.num_pictures=2")).identity)
    with pytest.raises(InputError, match="differs in crf"):
        check_same(tmp_path / "run", open_inputs(config(folder, "+crf.iterations=4")).identity)
    check_same(tmp_path / "run", open_inputs(config(folder, "+data.num_workers=7")).identity)
    matrix = "+crf.compatibility=[[0,1,1],[1,0,1],[1,1,0]]"
    for _ in range(2):
        check_same(tmp_path / "matrix", open_inputs(config(folder, matrix, "+data.label_map={0: 1}")).identity)
    np.savez(folder / "probs" / "p0.npz", logits=np.zeros((3, 2, 2)))
    with pytest.raises(InputError, match="differs in files"):
        check_same(tmp_path / "run", open_inputs(config(folder)).identity)


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads the children of a process from /proc")
@pytest.mark.skipif(importlib.util.find_spec("deeplab.crf._native") is None, reason="too slow without the C++ backend")
def test_a_killed_search_leaves_no_process_and_goes_on(folder: Path, tmp_path: Path) -> None:
    places = [f"{key}={folder / key}" for key in ("images", "labels", "probs")]
    out = tmp_path / "My run (1)"
    command = [sys.executable, "-m", "deeplab.search_crf", *places, f"output={out}", "search.num_pictures=3"]
    command += ["crf.iterations=600", "search.refine_rounds=0", "search.bootstrap=100", "search.processes=1"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE)
    results = out / "results.jsonl"
    end = time.monotonic() + 200
    while time.monotonic() < end and (not results.is_file() or results.read_bytes().count(b"\n") < 20):
        time.sleep(0.02)
        assert process.poll() is None, process.stderr and process.stderr.read()
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = results.read_bytes()
    assert before.count(b"\n") < 3 * 129
    deadline = time.monotonic() + 20
    while any(_alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(_alive(pid) for pid in children)
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300)
    lines = results.read_bytes()
    assert lines.startswith(before[: before.rfind(b"\n") + 1])
    keys = [(line["id"], str(line["cell"])) for line in map(json.loads, lines.splitlines())]
    assert len(keys) == len(set(keys)) == 3 * 129 + 2
    assert json.loads((out / "search.json").read_text())["held_out"]["num_pictures"] == 1
    assert json.loads((out / "run.json").read_text())["state"] == "finished"


def trials(folder: Path, out: Path, *more: str) -> str:
    places = [f"{key}={folder / key}" for key in ("images", "labels", "probs")]
    command = [sys.executable, "-m", "deeplab.search_crf", "-m", *places, f"output={out}", "search.num_pictures=3"]
    command += ["hydra.sweeper.n_trials=4", f"hydra.sweep.dir={out.parent / 'sweep'}", "search.processes=1", *more]
    command += ["search.bootstrap=100"]
    done = subprocess.run(command, cwd=out.parent, capture_output=True, text=True, timeout=300, check=False)
    return f"{done.returncode} {done.stdout} {done.stderr}"


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("hydra_plugins.hydra_optuna_sweeper") is None, reason="the extra `sweep` is not installed"
)
def test_optuna_searches_continuous_ranges(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "My run (1)"
    said = trials(folder, out, "hydra/sweeper=crf_tpe", "crf.iterations=2")
    assert said.startswith("0 "), said
    settings = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    cells = {tuple(line["cell"]) for line in settings if line["cell"]}
    found = json.loads((out / "search.json").read_text())
    # Four trials on three pictures, and the winner on the fourth picture, which took no part.
    assert len(cells) == 4
    assert len(settings) == 3 * (1 + 4) + 2
    assert found["held_out"]["num_pictures"] == 1
    assert all(cell[2] == cell[4] == 3 for cell in cells)
    assert len({cell[0] for cell in cells}) == 4
    best = (tmp_path / "sweep" / "optimization_results.yaml").read_text()
    assert f"best_value: {found['searched']['miou_crf']}" in best
    assert f"crf.bilateral_xy_std: {found['best']['bilateral_xy_std']}" in best
    # Again, after a kill: the sampler's seed repeats the trials, and nothing is scored twice.
    (out / "search.json").unlink()
    said = trials(folder, out, "hydra/sweeper=crf_tpe", "crf.iterations=2")
    assert said.startswith("0 "), said
    assert json.loads((out / "search.json").read_text()) == found
    assert (out / "results.jsonl").read_text().count("\n") == len(settings)
    least = ["hydra/sweeper=crf_tpe", "hydra.sweeper.direction=minimize"]
    said = trials(folder, tmp_path / "other", *least, "crf.bilateral_weight=interval(1,5)")
    assert said.startswith("2 "), said
    assert "hydra.sweeper.direction=minimize: the score is mIoU; add hydra.sweeper.direction=maximize" in said


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("hydra_plugins.hydra_optuna_sweeper") is None, reason="the extra `sweep` is not installed"
)
def test_the_spatial_kernel_is_searched_by_choice(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = trials(folder, out, "hydra/sweeper=crf_tpe", "crf.iterations=2", "crf.gaussian_xy_std=interval(1,5)")
    assert said.startswith("0 "), said
    cells = [json.loads(line)["cell"] for line in (out / "results.jsonl").read_text().splitlines()]
    stds = {cell[2] for cell in cells if cell}
    assert len(stds) == 4
    assert all(1 <= std <= 5 for std in stds)
    assert {cell[4] for cell in cells if cell} == {3}
