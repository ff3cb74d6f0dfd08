"""A signal or Ctrl-C: a checkpoint, its status, and a resumed run that ends as an undisturbed one, bit for bit."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.slow

STEPS = ("optim.max_steps=60", "trainer.val_every_n_steps=25", "trainer.checkpoint_every_n_steps=1000")


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_that_was_asked_to_leave_goes_on_as_if_nothing_had_happened(
    ranks: int, start: Any, tmp_path: Path
) -> None:
    more = start.ddp if ranks > 1 else ()
    undisturbed = start(*start.tiny, *STEPS, *more, "hydra.run.dir=a")
    disturbed = start(*start.tiny, *STEPS, *more, "hydra.run.dir=b")
    metrics = tmp_path / "b" / "metrics.csv"
    disturbed.wait_for(lambda: metrics.exists() and "train/loss" in metrics.read_text())
    # To the last rank alone: the others get to know.
    os.kill(disturbed.ranks()[-1], signal.SIGUSR1 if ranks > 1 else signal.SIGTERM)
    asked = time.monotonic()
    assert disturbed.wait(30) == 75, disturbed.text
    assert time.monotonic() - asked < 30
    disturbed.nobody_left()
    assert len(disturbed.sentences) == 1
    assert "deeplab train resume=" in disturbed.sentences[0]
    assert start.state(tmp_path / "b") == "preempted"
    last = torch.load(tmp_path / "b" / "checkpoints" / "last.ckpt", weights_only=True)
    assert f"after step {last['global_step']} of 60" in disturbed.sentences[0]
    resumed = start("resume=b")
    assert (undisturbed.wait(), resumed.wait()) == (0, 0), resumed.text
    assert "Resuming from" in resumed.text
    assert start.same(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "metrics.csv").read_text().count("\n") == metrics.read_text().count("\n")
    assert start.state(tmp_path / "b") == "finished"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_to_all_processes_of_a_run_leaves_its_workers_to_it(
    number: signal.Signals, status: int, start: Any, tmp_path: Path
) -> None:
    """As timeout(1), schedulers and terminals send it."""
    # Programs inherit that SIGINT is ignored, as it is where a shell runs these tests in the background.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    run = start(*start.tiny, *STEPS, "optim.max_steps=100000", "data.num_workers=1", "hydra.run.dir=a")
    signal.signal(signal.SIGINT, before)
    metrics = tmp_path / "a" / "metrics.csv"
    run.wait_for(lambda: metrics.exists() and "train/loss" in metrics.read_text())
    os.killpg(run.process.pid, number)
    assert run.wait(30) == status, run.text
    run.nobody_left()
    assert len(run.sentences) == 1 and "deeplab train resume=" in run.sentences[0]
    assert (tmp_path / "a" / "checkpoints" / "last.ckpt").exists()


def test_a_signal_while_a_run_starts_asks_for_another_try(start: Any, tmp_path: Path) -> None:
    run = start(*start.tiny, *STEPS, "hydra.run.dir=a")

    def answers_usr1() -> bool:
        status = Path(f"/proc/{run.process.pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
        return bool(int(caught.split()[1], 16) >> (signal.SIGUSR1 - 1) & 1)

    run.wait_for(answers_usr1)
    os.kill(run.process.pid, signal.SIGUSR1)
    assert run.wait(30) == 75, run.text
    assert len(run.sentences) == 1 and "resume=auto" in run.sentences[0]
    assert not (tmp_path / "a" / "checkpoints").exists()
