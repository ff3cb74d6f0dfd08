"""What a process of the search runs: numpy, the CRF's backend, no torch."""

import os
import signal
import threading
from collections.abc import Sequence
from functools import lru_cache
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path

from deeplab.crf.many_parameters import ManyParameters
from deeplab.crf.params import CRFParams
from deeplab.crf_search.prepared import Prepared, read_prepared
from deeplab.crf_search.store import Setting
from deeplab.crf_search.tallies import Tally, tally


def start() -> None:
    """Leave Ctrl-C to the parent, and end with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)  # the pool's own processes would wait for ever for work from a parent that was killed


def score(path: Path, settings: Sequence[Setting], fixed: CRFParams, backend: str) -> list[Tally]:
    """Return the tally of a prepared picture for each setting; None is the prediction without CRF.

    Raises ValueError for what the CRF refuses.
    """
    picture, crf = _open(path, fixed.unary, backend)
    tallies = []
    for setting in settings:
        labels = picture.scores.values.argmax(axis=0) if setting is None else crf.labels(setting.params(fixed))
        tallies.append(tally(picture.label, labels, len(picture.scores.values)))
    return tallies


@lru_cache(maxsize=1)
def _open(path: Path, unary: str, backend: str) -> tuple[Prepared, ManyParameters]:
    picture = read_prepared(path)
    scores = picture.scores.unary("logits" if unary == "logits" else "probabilities")
    return picture, ManyParameters(scores, picture.image, backend, num_threads=1)
