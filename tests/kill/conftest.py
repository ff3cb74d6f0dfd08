"""Runs of the real commands in sessions of their own, which are ended whatever happens."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

# A small network on tiny scenes, with dropout nowhere and no worker processes.
TINY = (
    "model/backbone=resnet18",
    "model.backbone.width=0.125",
    "model/head=classifier",
    "model/input=imagenet_rgb",
    "data.crop_size=33",
    "data.num_workers=0",
    "data.layout.sizes={train: 12, val: 3, test: 3}",
    "data.layout.height=40",
    "data.layout.width=48",
    "optim.global_batch_size=4",
    "optim.loss_group=4",
    "optim.freeze_bn=true",
    "optim.lr=1e-2",
    "trainer.progress_bar=false",
    "trainer.start_timeout=300",
    "trainer.lost_after=60",
    "crf=none",
    "evaluate=none",
)
DDP = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")


@dataclass
class Run:
    """A command in a session of its own."""

    process: subprocess.Popen[bytes]
    log: Path
    started: float = field(default_factory=time.monotonic)

    def wait(self, seconds: float = 120) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s:\n{self.text}") from None

    def wait_for(self, happened: Callable[[], Any], seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < end, f"did not happen:\n{self.text}"
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.text}"
            time.sleep(0.05)

    @property
    def text(self) -> str:
        return self.log.read_text()[-6000:]

    @property
    def sentences(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.startswith("deeplab train: ")]

    def members(self) -> list[int]:
        """The living processes of the session."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(") ")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self.process.pid and fields[0] != "Z":
                found.append(int(stat.parent.name))
        return sorted(found)

    def ranks(self) -> list[int]:
        """The processes of the run by rank, where Lightning started those after the first."""
        by_rank = {0: self.process.pid}
        for pid in self.members():
            try:
                variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
            except OSError:
                continue
            rank = next((int(each[11:]) for each in variables if each.startswith(b"LOCAL_RANK=")), 0)
            if rank > 0 and parent == self.process.pid:  # not what that process started itself
                by_rank[rank] = pid
        return [by_rank[rank] for rank in sorted(by_rank)]

    def nobody_left(self, seconds: float = 15) -> None:
        end = time.monotonic() + seconds
        while self.members():
            assert time.monotonic() < end, f"left over: {self.members()}\n{self.text}"
            time.sleep(0.1)


def end(run: Run) -> None:
    for pid in run.members():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    run.process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def state(folder: Path) -> Any:
    return json.loads((folder / "run.json").read_text())["state"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return tensors


def same(one: Path, other: Path) -> bool:
    mine, others = weights(one), weights(other)
    return mine.keys() == others.keys() and all(torch.equal(mine[name], others[name]) for name in mine)


class Start:
    """start(*overrides, program=..., under=..., **environment): begins a run of `deeplab train` in `here`."""

    tiny, ddp = TINY, DDP
    state, weights, same, free_port = (
        staticmethod(state),
        staticmethod(weights),
        staticmethod(same),
        staticmethod(free_port),
    )

    def __init__(self, here: Path) -> None:
        self.here = here
        self.runs: list[Run] = []

    def __call__(
        self,
        *overrides: str,
        program: tuple[str, ...] = ("-m", "deeplab.train"),
        under: tuple[str, ...] = (),
        **environment: str,
    ) -> Run:
        log = self.here / f"log_{len(self.runs)}"
        with log.open("w") as file:
            process = subprocess.Popen(
                [*under, sys.executable, *program, *overrides],
                cwd=self.here,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.runs.append(Run(process, log))
        return self.runs[-1]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Begins runs in tmp_path, and ends them after the test."""
    begin = Start(tmp_path)
    yield begin
    for run in begin.runs:
        end(run)
