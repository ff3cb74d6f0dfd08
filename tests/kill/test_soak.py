"""SIGKILL at random moments, of all processes or of one: every run is resumed, none is lost, the weights are the same.

    make soak            60 kills
    make soak KILLS=500

A kill comes while a run starts, at any moment of its training and validation, or while a checkpoint is written.
"""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from deeplab.training.checkpoints import newest_checkpoint

pytestmark = pytest.mark.soak

KILLS = int(os.environ.get("KILLS", "60"))
STEPS = 300
OPTIONS = (
    "model/head=large_fov",  # with dropout
    "model.head_form=''",
    "+model.head.hidden_channels=8",
    f"optim.max_steps={STEPS}",
    "trainer.checkpoint_every_n_steps=3",
    "trainer.val_every_n_steps=20",
    "resume=auto",
)


class Attempt:
    """One start of a run, and the kill that ends it."""

    def __init__(self, run: Any, folder: Path, chance: random.Random) -> None:
        self.run, self.folder, self.chance = run, folder, chance
        self.begun = time.time()

    def wait_for_moment(self, kind: str) -> bool:
        """Wait for the moment; False if the run ended before it."""
        if kind == "start":
            return self._sleep(self.chance.uniform(0, 12))
        last, part = self.folder / "checkpoints" / "last.ckpt", self.folder / "checkpoints" / ".last.ckpt.part"
        while not (last.exists() and last.stat().st_mtime > self.begun):
            if not self._sleep(0.02):
                return False
        if not self._sleep(self.chance.uniform(0, 3)):
            return False
        while kind == "write" and not part.exists():
            if self.run.process.poll() is not None:
                return False
        return True

    def _sleep(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.run.process.poll() is not None:
                return False
            time.sleep(0.01)
        return True

    def kill(self, one: bool) -> str:
        ranks = self.run.ranks()
        victims = [self.chance.choice(ranks)] if one and len(ranks) > 1 else self.run.members()
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return f"rank {ranks.index(victims[0])} alone" if one and len(ranks) > 1 else "all"


def step(folder: Path) -> int:
    newest = newest_checkpoint(folder / "checkpoints")
    return 0 if newest is None else int(torch.load(newest, weights_only=True)["global_step"])


@pytest.mark.parametrize("ranks", [1, 2])
def test_no_run_is_lost(ranks: int, start: Any, tmp_path: Path) -> None:
    options = (*start.tiny, *OPTIONS, *(start.ddp if ranks > 1 else ()))
    undisturbed = start(*options, "hydra.run.dir=undisturbed")
    assert undisturbed.wait(900) == 0, undisturbed.text
    chance, count, runs, resumed = random.Random(ranks), Counter[str](), 0, 0
    while count["kills"] < KILLS // 2:
        folder, runs = tmp_path / f"run_{runs}", runs + 1
        attempts = 0
        while True:
            before, attempts = step(folder), attempts + 1
            attempt = Attempt(start(*options, f"hydra.run.dir={folder}"), folder, chance)
            kind = chance.choice(["start", "any", "any", "write", "write"])
            if count["kills"] >= KILLS // 2 or not attempt.wait_for_moment(kind):
                assert attempt.run.wait(900) == 0, attempt.run.text
                attempt.run.nobody_left()
                break
            half_written = (folder / "checkpoints" / ".last.ckpt.part").exists()
            who = attempt.kill(one=chance.random() < 0.5)
            attempt.run.nobody_left(60)
            count.update(["kills", f"moment: {kind}", f"killed: {who}"] + ["half-written file"] * half_written)
            assert step(folder) >= before, "a checkpoint was lost"
            print(f"{ranks} ranks, kill {count['kills']}: {kind}, {who}, step {before} -> {step(folder)}", flush=True)
        resumed += attempts - 1
        assert step(folder) == STEPS
        assert start.same(tmp_path / "undisturbed", folder)
    print(f"{ranks} ranks: {runs} runs, resumed {resumed} times, weights identical; {dict(count)}")
