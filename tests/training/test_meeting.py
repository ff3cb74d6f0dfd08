"""How the processes of a run find each other, and what they say when they do not."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deeplab.errors import InputError, Preempted, ProcessLostError
from deeplab.training.ddp import open_stores
from deeplab.training.leaving import Leaving
from deeplab.training.ranks import Ranks

HERE = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as free:
        free.bind((HERE, 0))
        return int(free.getsockname()[1])


def test_an_address_that_does_not_answer() -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match=r"MASTER_ADDR=127\.0\.0\.1, MASTER_PORT=\d+ did not answer within .*=1 s"):
        open_stores(HERE, free_port(), rank=1, world=2, timeout=1)
    assert time.monotonic() - start < 10


def test_an_address_that_nobody_knows() -> None:
    with pytest.raises(InputError, match=r"MASTER_ADDR=no\.such\.host\.invalid is no address"):
        open_stores("no.such.host.invalid", 29500, rank=1, world=2, timeout=30)


def test_a_port_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"MASTER_PORT={port} is in use on this machine"):
            open_stores("localhost", port, rank=0, world=2, timeout=5)


def test_processes_that_do_not_come() -> None:
    with pytest.raises(ProcessLostError, match=r"Of 3 processes \[1, 2\] did not come within .*=1 s"):
        open_stores(HERE, free_port(), rank=0, world=3, timeout=1)


def test_a_process_that_ended_before_it_came() -> None:
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(2)"]) as child:
        child.wait()
        with pytest.raises(ProcessLostError, match="Process 1 of 2 ended before it met the others"):
            open_stores(HERE, free_port(), rank=0, world=2, timeout=30, children=[child])


@pytest.fixture
def pair() -> Iterator[Callable[[], list[Ranks]]]:
    """Two connected processes, in threads of this one."""
    made: list[Ranks] = []
    stores: list[Any] = []

    def make() -> list[Ranks]:
        port, by_rank = free_port(), {}

        def open_one(rank: int) -> None:
            by_rank[rank] = open_stores(HERE, port, rank, 2, 20)

        threads = [threading.Thread(target=open_one, args=(rank,)) for rank in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for rank in range(2):
            stores.extend(by_rank[rank])
            made.append(Ranks(Leaving(seconds=3600), 20, lambda state, error: None))
            made[-1].connect(by_rank[rank][1], rank, 2)
        return made

    yield make
    for ranks in made:
        ranks._stop.set()


def side_by_side(*works: Callable[[], Any]) -> list[BaseException | None]:
    """What each raised."""
    raised: list[BaseException | None] = [None] * len(works)

    def work(number: int) -> None:
        try:
            works[number]()
        except BaseException as error:
            raised[number] = error

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return raised


def test_equal_processes_agree(pair: Any) -> None:
    first, second = pair()
    what = {"code": "abc", "optim.lr": 0.1, "data.root": Path("/x")}
    assert side_by_side(lambda: first.compare(what, 20), lambda: second.compare(dict(what), 20)) == [None, None]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"code": "abd"}, 'code="abd", process 0 with "abc"'),
        ({"optim.lr": 0.2}, "optim.lr=0.2, process 0 with 0.1"),
        ({"more": 1}, "more=1, process 0 with None"),
    ],
)
def test_processes_that_differ_end_with_the_same_sentence(changes: Any, text: str, pair: Any) -> None:
    what = {"code": "abc", "optim.lr": 0.1}

    def run(ranks: Ranks, mine: dict[str, Any]) -> None:
        with ranks:
            ranks.compare(mine, 20)

    first, second = pair()
    errors = side_by_side(lambda: run(first, what), lambda: run(second, {**what, **changes}))
    assert all(isinstance(error, InputError) and text in str(error) for error in errors), errors
    assert [getattr(error, "told", False) for error in errors] == [False, True]


def ends(ranks: Ranks, error: BaseException | None) -> None:
    with ranks:
        if error is not None:
            raise error
        # what a process does that the others have left: its next exchange fails
        time.sleep(1)
        raise RuntimeError("[pair.cc:534] Connection closed by peer [127.0.0.1]:4711")


@pytest.mark.parametrize("speaker", [0, 1])
def test_a_mistake_of_one_is_what_all_end_with(speaker: int, pair: Any) -> None:
    both = pair()
    mistakes = [InputError("5.jpg is damaged.") if rank == speaker else None for rank in range(2)]
    errors = side_by_side(*(lambda r=r, e=e: ends(r, e) for r, e in zip(both, mistakes, strict=True)))
    assert [type(error) for error in errors] == [InputError] * 2
    assert [str(error) for error in errors] == ["5.jpg is damaged."] * 2


def test_who_left_takes_the_others_along(pair: Any) -> None:
    both = pair()
    errors = side_by_side(lambda: ends(both[0], None), lambda: ends(both[1], Preempted("Left.")))
    assert [type(error) for error in errors] == [Preempted] * 2


def test_a_fault_of_one_is_named_by_the_other(pair: Any) -> None:
    both = pair()
    errors = side_by_side(lambda: ends(both[0], None), lambda: ends(both[1], KeyError("x")))
    assert isinstance(errors[1], KeyError)
    assert isinstance(errors[0], ProcessLostError) and "Process 1 of 2 failed: KeyError: 'x'" in str(errors[0])


def test_who_asks_one_to_leave_asks_all(pair: Any) -> None:
    first, second = pair()
    second._leaving.ask("SIGTERM")
    end = time.monotonic() + 10
    while first._leaving.reason is None and time.monotonic() < end:
        time.sleep(0.05)
    assert first._leaving.reason == "the word of another process"
    for ranks in (first, second):
        assert ranks._leaving._timer is not None
        ranks._leaving._timer.cancel()


def test_alone_nothing_happens() -> None:
    with Ranks(Leaving(), 20, lambda state, error: None):
        pass
    with pytest.raises(KeyError), Ranks(Leaving(), 20, lambda state, error: None):
        raise KeyError("mine")
    assert os.getpid()
