"""A run over two hosts: two network namespaces, each with an address of its own, joined by a cable (a veth pair)."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

CABLE = "cable"
ADDRESSES = ("10.231.7.1", "10.231.7.2")
LOST_AFTER = 6
# After the loss is noticed: twice an interval, and the time for the main thread to come out of what it waits in.
SOON = LOST_AFTER + 24


@dataclass(frozen=True)
class Hosts:
    """The names of two network namespaces."""

    names: tuple[str, str]

    def start(self, start: Any, *overrides: str) -> list[Any]:
        """`torchrun --nnodes=2` on each host, one process there."""
        begun = []
        for rank, name in enumerate(self.names):
            launch = ("--nnodes=2", f"--node-rank={rank}", "--nproc-per-node=1", "--master-port=29500")
            program = ("-m", "torch.distributed.run", *launch, f"--master-addr={ADDRESSES[0]}", "-m", "deeplab.train")
            under = ("ip", "netns", "exec", name)
            begun.append(start(*overrides, program=program, under=under, GLOO_SOCKET_IFNAME=CABLE))
        return begun

    def cut(self) -> None:
        """Take the cable down; no packet and no word of an end passes any more."""
        ip("-n", self.names[1], "link", "set", CABLE, "down")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=20)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if os.getuid() != 0:
        pytest.skip("only root may make network namespaces")
    if shutil.which("ip") is None:
        pytest.skip("no ip here: apt-get install iproute2")
    names = (f"deeplab-{os.getpid()}-0", f"deeplab-{os.getpid()}-1")
    try:
        for name in names:
            try:
                ip("netns", "add", name)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
        ip("-n", names[0], "link", "add", CABLE, "type", "veth", "peer", "name", CABLE, "netns", names[1])
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", CABLE)
            ip("-n", name, "link", "set", CABLE, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield Hosts(names)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=20)


def test_two_hosts_train_what_one_process_trains(hosts: Hosts, start: Any, tmp_path: Path) -> None:
    common = (*start.tiny, "optim.max_steps=6", "trainer.val_every_n_steps=null", "trainer.accelerator=cpu")
    both = hosts.start(start, *common, "hydra.run.dir=both")
    alone = start(*common, "hydra.run.dir=alone")
    assert [run.wait() for run in (*both, alone)] == [0, 0, 0], both[0].text + both[1].text + alone.text
    assert "2 processes x 2" in both[0].text
    shared, single = start.weights(tmp_path / "both"), start.weights(tmp_path / "alone")
    assert shared.keys() == single.keys()
    for name, expected in single.items():
        difference = (shared[name] - expected).double().norm()
        assert difference <= 1e-5 * expected.double().norm(), name


def test_a_cable_that_is_cut(hosts: Hosts, start: Any, tmp_path: Path) -> None:
    endless = ("optim.max_steps=100000", "trainer.val_every_n_steps=null", "trainer.checkpoint_every_n_steps=10")
    overrides = (*start.tiny, *endless, "trainer.accelerator=cpu", f"trainer.lost_after={LOST_AFTER}")
    both = hosts.start(start, *overrides, "hydra.run.dir=run")
    both[0].wait_for((tmp_path / "run" / "checkpoints" / "last.ckpt").exists)
    hosts.cut()
    cut = time.monotonic()
    for rank, run in enumerate(both):
        assert run.wait(SOON) != 0
        run.nobody_left(5)
        [sentence] = run.sentences
        assert f"Process {1 - rank} of 2" in sentence, run.text
        assert f"for {LOST_AFTER} s" in sentence, run.text
        assert "resume=auto" in sentence, run.text
    assert time.monotonic() - cut >= LOST_AFTER - 1
    assert start.state(tmp_path / "run") == "failed"
