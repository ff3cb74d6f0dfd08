"""Two processes (gloo) against one: the same losses, weights and scores from the same global batches."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).with_name("ddp_run.py")
STEPS = 20
RELATIVE = {"float32": 1e-5}  # else float64, 1e-9

pytestmark = pytest.mark.slow


def start(folder: Path, ranks: int, rank: int, port: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    if ranks > 1:
        environment |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with (folder / f"log_{rank}_of_{ranks}").open("w") as log:
        command = [sys.executable, str(SCRIPT), str(folder), str(ranks)]
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ddp_run.py saved: "one" process, and of two processes "first" and "second"."""
    folder = tmp_path_factory.mktemp("ddp")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = {"one": (1, 0), "first": (2, 0), "second": (2, 1)}
    processes = {name: start(folder, ranks, rank, port) for name, (ranks, rank) in names.items()}
    loaded = {}
    try:
        for name, (ranks, rank) in names.items():
            status = processes[name].wait(timeout=240)
            assert status == 0, (folder / f"log_{rank}_of_{ranks}").read_text()[-3000:]
            loaded[name] = torch.load(folder / f"results_{rank}_of_{ranks}.pt", weights_only=False)
    finally:
        for process in processes.values():
            process.kill()
    return loaded


@pytest.mark.parametrize("case", ["one_picture_groups", "groups_over_ranks", "multi_scale", "class_weights", "float32"])
def test_losses_and_weights_are_those_of_one_process(case: str, results: dict[str, Any]) -> None:
    one, relative = results["one"][case], RELATIVE.get(case, 1e-9)
    assert len(one["steps"]) == STEPS
    losses = [step["train/loss"] for step in one["steps"]]
    assert max(losses) > 1.001 * min(losses)
    for rank in ("first", "second"):
        other = results[rank][case]
        assert other["steps"] == [pytest.approx(step, rel=relative) for step in one["steps"]]
        for name, value in one["weights"].items():
            value = value.double()
            assert (other["weights"][name] - value).norm() <= relative * value.norm(), name


# 4 pictures a rank in micro-batches of 3, 1 and 2; the network's gradients fit in one bucket.
@pytest.mark.parametrize("case", ["one_picture_groups", "groups_over_ranks", "multi_scale"])
def test_gradients_are_exchanged_once_a_step(case: str, results: dict[str, Any]) -> None:
    assert results["first"][case]["exchanges"] == results["second"][case]["exchanges"] == STEPS


def test_dropout_differs_between_ranks(results: dict[str, Any]) -> None:
    first, second = (results[rank]["dropout"]["mask"] for rank in ("first", "second"))
    assert first.shape == second.shape
    assert not torch.equal(first, second)


def test_every_picture_is_scored_once(results: dict[str, Any]) -> None:
    one = results["one"]["evaluate"]
    assert {"val/miou", "val/miou_crf", "val/pixel_accuracy", "val/pixel_accuracy_crf"} <= set(one["metrics"])
    assert one["pixels"] == 2 * (20 * 26 - 6) + 30 * 40 - 6
    assert one["skipped"] == 1
    assert 0.3 < one["metrics"]["val/miou"] < one["metrics"]["val/miou_crf"] < 1
    assert results["first"]["evaluate"] == results["second"]["evaluate"] == one


def test_all_ranks_stop_at_a_loss_that_is_not_finite(results: dict[str, Any]) -> None:
    expected = {"step": 0, "ids": [f"0_0_{i}" for i in range(8)]}
    assert [results[name]["not_finite"] for name in ("one", "first", "second")] == [expected] * 3


def test_nothing_is_recommended(results: dict[str, Any]) -> None:
    """Lightning warns of values that are logged without being reduced over the ranks."""
    messages = results["first"]["warnings"] + results["second"]["warnings"]
    assert not [message for message in messages if "sync_dist" in message]
