"""A scheduler's signal before the run can answer it."""

import os
import signal
from typing import NoReturn

import pytest

from deeplab.config.early_signals import answered_early


class LeftError(Exception):
    """In place of the process's end."""


def end(status: int) -> NoReturn:
    raise LeftError(status)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize(("rank", "says"), [("0", 1), ("1", 0)])
def test_it_asks_for_another_try(
    number: signal.Signals, rank: str, says: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setenv("SLURM_PROCID", rank)
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(LeftError, match="75"), answered_early():
            signal.raise_signal(number)
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert capfd.readouterr().err.count(f"deeplab train: Left on {number.name} while no step was under way; ") == says
