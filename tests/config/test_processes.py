"""How many worker processes are started of those that were asked for."""

import logging
import os

import pytest

from deeplab.config.processes import worker_count


@pytest.mark.parametrize(
    ("cores", "asked", "started"),
    [(2, None, None), (2, 0, 0), (2, 16, 16), (2, 1000, 16), (32, 100, 100), (32, 129, 128)],
)
def test_no_more_than_the_cores_can_use(
    cores: int,
    asked: int | None,
    started: int | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    with caplog.at_level(logging.WARNING):
        assert worker_count("data.num_workers", asked) == started
    said = f"data.num_workers={asked}: {started} are started, as this process may use {cores} cores."
    assert caplog.messages == ([said] if asked != started else [])
