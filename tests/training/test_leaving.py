"""Ctrl-C and the signals of schedulers, as a run in this process takes them."""

import signal
from collections.abc import Iterator
from threading import Event

import pytest

from deeplab.errors import Preempted
from deeplab.training.leaving import Leaving


@pytest.fixture(autouse=True)
def listens() -> Iterator[None]:
    """A shell that runs these tests in the background has them ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [
        (signal.SIGINT, 130, "Left on Ctrl-C; try again."),
        (signal.SIGTERM, 75, "Left on SIGTERM; try again."),
        (signal.SIGUSR1, 75, "Left on SIGUSR1; try again."),
    ],
)
def test_a_signal_ends_the_work_with_its_status(number: signal.Signals, status: int, words: str) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Preempted) as caught, Leaving("try again"):
        signal.raise_signal(number)
    assert (caught.value.status, str(caught.value)) == (status, words)
    assert signal.getsignal(number) == before


def test_a_second_ctrl_c_ends_a_run_that_would_still_finish_its_step() -> None:
    ended, how = Event(), []

    def end(status: int, sentence: str) -> None:
        how.append((status, sentence))
        ended.set()

    with Leaving("try again") as leaving:
        leaving.deferred = True
        leaving.at_last = end
        signal.raise_signal(signal.SIGINT)
        assert leaving.reason == "SIGINT" and not ended.wait(0.1)
        signal.raise_signal(signal.SIGINT)
        assert ended.wait(10)
    assert how == [(130, "Left on Ctrl-C; try again.")]


def test_ctrl_c_stays_ignored_in_the_background() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Leaving() as leaving:
        signal.raise_signal(signal.SIGINT)
    assert leaving.reason is None
