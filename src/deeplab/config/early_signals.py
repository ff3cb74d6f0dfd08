"""A scheduler's word that comes while a run imports and composes: it leaves with the status that asks for another try.

From the first to the last step `deeplab.training.leaving` answers, which takes seconds to import.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from deeplab.errors import Preempted
from deeplab.reporting.first_process import is_first_process

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def answered_early() -> Iterator[None]:
    """Answer the signals where nothing else does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, _leave) for each in SIGNALS if signal.getsignal(each) == signal.SIG_DFL}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    if is_first_process():
        name = signal.Signals(number).name
        sentence = f"Left on {name} while no step was under way; resume=auto with the run's folder takes it up again."
        os.write(2, f"deeplab train: {sentence}\n".encode())  # not print, which the signal may have interrupted
    os._exit(Preempted.status)
