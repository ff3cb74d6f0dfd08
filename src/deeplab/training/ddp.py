"""DDP through Lightning, with processes that find each other within a time-out and watch each other (`Ranks`)."""

import atexit
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from deeplab.errors import InputError, ProcessLostError
from deeplab.training.ranks import Ranks


class WatchedDDP(DDPStrategy):
    """DDP whose ranks are watched.

    Args:
        ranks: told how to reach the others.
        start_timeout: seconds that processes wait for each other at the start.
        timeout: seconds that they wait in an exchange.
        same: plain values that have to be equal on all ranks, by name.

    Raises InputError for an address that does not answer, a port in use, and ranks that differ.
    """

    def __init__(self, ranks: Ranks, start_timeout: float, timeout: float, same: dict[str, Any]) -> None:
        super().__init__(timeout=timedelta(seconds=timeout))
        self._ranks = ranks
        self._start_timeout = start_timeout
        self._same = same

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = _Launcher(self.cluster_environment, self.num_processes, self.num_nodes)
        self._launcher.ranks = self._ranks

    def setup_distributed(self) -> None:
        if not dist.is_initialized():
            self.set_world_ranks()
            self._meet()
        super().setup_distributed()

    def _meet(self) -> None:
        """Start the process group as Lightning would, but on a store with a time-out of its own."""
        assert self.cluster_environment is not None and self._timeout is not None
        address, port = self.cluster_environment.main_address, self.cluster_environment.main_port
        os.environ.update(MASTER_ADDR=address, MASTER_PORT=str(port))
        backend = self._get_process_group_backend()
        device = self.root_device if self.root_device.type != "cpu" else None
        stores = open_stores(
            address, port, self.global_rank, self.world_size, self._start_timeout, self._ranks.children
        )
        self._ranks.connect(stores[1], self.global_rank, self.world_size)
        self._ranks.compare(self._same, self._start_timeout)
        dist.init_process_group(
            backend,
            store=stores[0],
            rank=self.global_rank,
            world_size=self.world_size,
            timeout=self._timeout,
            device_id=device,
        )
        if backend == "nccl":
            atexit.register(_end_group)


class _Launcher(_SubprocessScriptLauncher):
    """Starts the processes of the other devices, but does not let Lightning kill this one when one of them fails.

    Its observer ends the first process by SIGKILL, without a word and with run.json saying that it runs.
    """

    ranks: Ranks

    def launch(
        self, function: Callable[..., Any], *args: Any, trainer: "pl.Trainer | None" = None, **kwargs: Any
    ) -> Any:
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
            self.ranks.children = self.procs
        if "OMP_NUM_THREADS" not in os.environ:
            os.environ["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // self.num_processes))
            torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        return function(*args, **kwargs)


def open_stores(
    address: str, port: int, rank: int, world: int, timeout: float, children: Sequence[subprocess.Popen[bytes]] = ()
) -> tuple[Any, Any]:
    """Two stores by which the processes meet, of one server: process 0, or torchrun's agent where that started them.

    A store serves one request at a time: the first is for the process group, the second for `Ranks`.

    Raises InputError for an address or a port that will not do, ProcessLostError if some process does not come.
    """
    agents = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    opens = rank == 0 and not agents
    if not opens:
        _wait_for(address, port, timeout)
    try:
        stores = [
            TCPStore(address, port, None, opens and i == 0, timedelta(seconds=timeout), wait_for_workers=False)
            for i in range(2)
        ]
    except RuntimeError as error:
        if opens and re.search("EADDRINUSE|address already in use", str(error), re.I):
            raise InputError(
                f"MASTER_PORT={port} is in use on this machine; set another one, or unset it where all processes run "
                "on one machine."
            ) from error
        raise InputError(
            f"MASTER_ADDR={address}, MASTER_PORT={port}: cannot be used ({_first_line(error)})."
        ) from error
    # A restart by torchrun finds what the attempt before it left in the agent's store.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    group, watch = (PrefixStore(f"{n}{attempt}", each) for n, each in zip(("group", "ranks"), stores, strict=True))
    _gather(watch, rank, world, timeout, children)
    return group, watch


def _gather(store: Any, rank: int, world: int, timeout: float, children: Sequence[subprocess.Popen[bytes]]) -> None:
    store.set(f"here/{rank}", "")
    end = time.monotonic() + timeout
    while rank == 0 and not store.check([f"here/{each}" for each in range(world)]):
        absent = [each for each in range(world) if not store.check([f"here/{each}"])]
        for number, child in enumerate(children, 1):
            if child.poll() is not None and number in absent:
                raise ProcessLostError(
                    f"Process {number} of {world} ended before it met the others; it said why above."
                )
        if time.monotonic() > end:
            raise ProcessLostError(
                f"Of {world} processes {absent} did not come within trainer.start_timeout={timeout:.0f} s: are they "
                "started, with the same MASTER_ADDR, MASTER_PORT and trainer.num_nodes?"
            )
        time.sleep(0.05)


def _wait_for(address: str, port: int, timeout: float) -> None:
    end = time.monotonic() + timeout
    parent = os.getppid()
    while True:
        if os.getppid() != parent:
            raise ProcessLostError("The process that started this one ended before they met.")
        try:
            socket.create_connection((address, port), timeout=min(5.0, timeout)).close()
            return
        except socket.gaierror as error:
            raise InputError(
                f"MASTER_ADDR={address} is no address that this machine knows ({error.strerror})."
            ) from error
        except OSError as error:
            if time.monotonic() > end:
                raise InputError(
                    f"MASTER_ADDR={address}, MASTER_PORT={port} did not answer within trainer.start_timeout="
                    f"{timeout:.0f} s ({error.strerror or error}): is process 0 started there, and the port open?"
                ) from error
        time.sleep(0.2)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _end_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
