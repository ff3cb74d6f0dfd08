"""The native backend beside other threads, in a child of fork, and when its process ends."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from deeplab.crf import DenseCRF

pytest.importorskip("deeplab.crf.native", reason="the C++ extension is not built")


def test_calls_from_several_threads_at_once(picture: Callable[..., Any]) -> None:
    pictures = [picture(6, 50 + i, 70, seed=i) for i in range(4)]
    crf = DenseCRF(backend="native", num_threads=2)
    expected = [crf(*one) for one in pictures]
    got: list[Any] = [None] * 4
    threads = [threading.Thread(target=lambda i=i: got.__setitem__(i, crf(*pictures[i]))) for i in range(4)]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


LEAVING = """
import numpy as np
from deeplab.crf import DenseCRF

crf = DenseCRF(backend="native", num_threads=2)
for height, width in ((375, 500), (333, 500), (500, 375)):
    scores = np.random.default_rng(0).random((21, height, width), np.float32)
    crf(scores / scores.sum(axis=0), np.zeros((height, width, 3), np.uint8))
"""


def test_a_process_that_keeps_grids_and_memory_ends_well() -> None:
    done = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


LEFT_WORKING = """
import sys, threading, time
import numpy as np
from deeplab.crf import DenseCRF

crf = DenseCRF(backend="native", num_threads=2)
scores, image = np.full((5, 50, 50), 0.2, np.float32), np.zeros((50, 50, 3), np.uint8)

def work():
    while True:
        crf(scores, image)

for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
sys.exit(7)
"""


def test_a_process_that_leaves_threads_at_work_has_its_own_status() -> None:
    done = subprocess.run([sys.executable, "-c", LEFT_WORKING], capture_output=True, text=True, timeout=120)
    assert done.returncode == 7, done.stderr


FORKS = """
import os, signal, threading, warnings
import numpy as np
from deeplab.crf import CRFParams, DenseCRF, _native

warnings.simplefilter("ignore")  # Python's own about forks beside threads
image = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
probs = np.random.default_rng(0).dirichlet(np.ones(3), (16, 16)).transpose(2, 0, 1).astype(np.float32)
crf = DenseCRF(CRFParams(iterations=2), "native", num_threads=2)
expected, over = crf(probs, image), threading.Event()

def work():
    while not over.is_set():
        _native.spatial(8, 8, 1.0, True, True, 1)

threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
ended = []
for _ in range(300):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(int(not np.array_equal(crf(probs, image), expected)))
    ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    if ended[-1]:
        break
over.set()
for thread in threads:
    thread.join()
print(len(ended), ended[-1])
"""


def test_a_child_of_fork_refines_though_a_thread_was_at_work() -> None:
    """Of a hundred such forks one held a lock that nobody was left to release."""
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=120)
    assert done.stdout == "300 0\n", done.stdout + done.stderr
