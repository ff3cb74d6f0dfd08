from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeplab.crf import CRFParams, DenseCRF
from deeplab.crf.workers import CRFWorkerError, CRFWorkers, default_num_workers

PARAMS = CRFParams(iterations=2)


def test_label_maps_come_by_future(picture: Any) -> None:
    pictures = [picture(4, 20 + i, 30, seed=i) for i in range(5)]
    with CRFWorkers(PARAMS, "exact", num_workers=2) as workers:
        futures = [workers.submit(*one) for one in pictures]
        labels = [future.result(timeout=60) for future in futures]
    for (probs, image), label in zip(pictures, labels, strict=True):
        assert label.dtype == np.uint8
        np.testing.assert_array_equal(label, DenseCRF(PARAMS, "exact")(probs, image).argmax(axis=0))


def test_many_labels_need_int16(picture: Any) -> None:
    probs, image = picture(300, 4, 5)
    with CRFWorkers(PARAMS, "exact", num_workers=1) as workers:
        assert workers.submit(probs, image).result(timeout=60).dtype == np.int16


def test_error_belongs_to_its_picture(picture: Any) -> None:
    probs, image = picture(4, 20, 30)
    with CRFWorkers(PARAMS, "exact", num_workers=1) as workers:
        bad = workers.submit(probs * np.nan, image)
        good = workers.submit(probs, image)
        with pytest.raises(ValueError, match="nan"):
            bad.result(timeout=60)
        assert good.result(timeout=60).shape == (20, 30)


def test_death_is_an_error_and_not_a_hang(picture: Any) -> None:
    probs, image = picture(4, 20, 30)
    with CRFWorkers(PARAMS, "exact", num_workers=1) as workers:
        workers.submit(probs, image).result(timeout=60)
        workers._workers[0]._process.kill()
        with pytest.raises(CRFWorkerError, match="signal 9"):
            workers.submit(probs, image).result(timeout=60)
        with pytest.raises(CRFWorkerError):
            workers.submit(probs, image)


def test_submit_blocks_while_two_pictures_a_worker_wait(picture: Any) -> None:
    probs, image = picture(4, 40, 60)  # brute force takes about a quarter of a second
    with CRFWorkers(CRFParams(iterations=1), "exact", num_workers=1) as workers:
        futures, started = [], time.monotonic()
        for _ in range(5):
            futures.append(workers.submit(probs, image))
            assert sum(not future.done() for future in futures) <= 3
        assert futures[1].done()
        assert time.monotonic() > started
        assert all(future.result(timeout=60) is not None for future in futures)


def test_exception_in_the_block_cancels(picture: Any) -> None:
    probs, image = picture(4, 60, 100)
    started = time.monotonic()
    with pytest.raises(KeyError), CRFWorkers(CRFParams(iterations=500), "exact", num_workers=1) as workers:
        futures = [workers.submit(probs, image) for _ in range(2)]
        raise KeyError("stop")
    assert time.monotonic() - started < 20
    assert all(future.cancelled() or future.exception() is not None for future in futures)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_the_whole_group_leaves_the_workers_to_the_parent(number: signal.Signals, picture: Any) -> None:
    probs, image = picture(4, 20, 30)
    with CRFWorkers(PARAMS, "exact", num_workers=1) as workers:
        process = workers._workers[0]._process
        os.kill(process.pid, number)  # while it starts
        assert workers.submit(probs, image).result(timeout=60).shape == (20, 30)
        os.kill(process.pid, number)
        assert workers.submit(probs, image).result(timeout=60).shape == (20, 30)
    assert process.returncode == 0


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Any) -> None:
    script = """
import sys, time, numpy as np
from deeplab.crf import CRFParams
from deeplab.crf.workers import CRFWorkers
workers = CRFWorkers(CRFParams(iterations=2), "exact", num_workers=2)
probs, image = np.full((2, 4, 5), 0.5, np.float32), np.zeros((4, 5, 3), np.uint8)
for future in [workers.submit(probs, image) for _ in range(4)]:
    future.result()
print(*[worker._process.pid for worker in workers._workers], flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    children = [int(pid) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert len(children) == 2
    deadline = time.monotonic() + 30
    while any(running(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(running(pid) for pid in children)


def running(pid: int) -> bool:
    """Whether the process exists and is more than a zombie that nobody waits for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_closed_pool_refuses(picture: Any) -> None:
    workers = CRFWorkers(PARAMS, "exact", num_workers=1)
    workers.close()
    with pytest.raises(RuntimeError, match="closed"):
        workers.submit(*picture(4, 20, 30))


def test_workers_without_torch(picture: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # A torch that cannot be imported stands before the real one on the worker's path.
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with CRFWorkers(PARAMS, "exact", num_workers=1) as workers:
        assert workers.submit(*picture(4, 20, 30)).result(timeout=60).shape == (20, 30)


def test_cores_are_divided_by_local_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert default_num_workers() == 2


def test_unavailable_backend_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="backend = 'gpu'"):
        CRFWorkers(PARAMS, "gpu", num_workers=1)
