"""A DataLoader's process that ends: torch's message, wherever it comes up, becomes one sentence."""

import os
import signal
from typing import Any

import numpy as np
import pytest
from torch.utils.data import Dataset

from deeplab.config.lost_reader import told_if_a_process_is_lost
from deeplab.crf import CRFParams
from deeplab.crf.workers import CRFWorkers
from deeplab.data.loading import PictureLoader
from deeplab.errors import ProcessLostError


class Dies(Dataset[Any]):
    """Its first picture ends the process that reads it, as the system does when memory runs out."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, key: int) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("still there")


@pytest.mark.slow
def test_a_killed_reader() -> None:
    sentence = r"A process that reads pictures \(pid \d+\).*: lower data.num_workers"
    with pytest.raises(ProcessLostError, match=sentence), told_if_a_process_is_lost():
        list(PictureLoader(Dies(), num_workers=1))


@pytest.mark.parametrize(
    "message",
    [
        "DataLoader worker (pid 12) is killed by signal: Killed. ",
        "DataLoader worker (pid 12) exited unexpectedly with exit code 1. Details are lost due to multiprocessing.",
        "DataLoader worker (pid(s) 12, 13) exited unexpectedly",
    ],
)
def test_torchs_messages(message: str) -> None:
    with pytest.raises(ProcessLostError, match=r"pid 12.*(Killed|unexpectedly).*; most"), told_if_a_process_is_lost():
        raise RuntimeError(message)


def test_a_killed_process_of_the_crf() -> None:
    probs, image = np.full((2, 4, 5), 0.5, np.float32), np.zeros((4, 5, 3), np.uint8)
    with CRFWorkers(CRFParams(), num_workers=1) as workers:
        workers._workers[0].kill()
        sentence = "a CRF worker process ended .*killed by signal 9.* or set crf.workers lower"
        with pytest.raises(ProcessLostError, match=sentence), told_if_a_process_is_lost():
            workers.submit(probs, image).result()


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), told_if_a_process_is_lost():
        raise RuntimeError("shapes differ")
