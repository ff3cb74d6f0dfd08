"""SIGTERM, SIGUSR1 and Ctrl-C: write a checkpoint and leave.

While a run works all handling of signals is in this file; before and after that `deeplab.config.early_signals` answers.

A scheduler that takes a machine back sends SIGTERM, Slurm what `--signal` names. submitit, which puts jobs into Slurm's
queue, has a handler for SIGUSR2 that requeues the job: it is called once the checkpoint is written and the run's files
are closed. Nobody here requeues anything, so that exactly one does.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import pytorch_lightning as pl

from deeplab.errors import CTRL_C, Preempted
from deeplab.training.module import SegmentationModule

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
REQUEUES = signal.SIGUSR2  # caught only in a job of submitit's
# Both ask for an end within 30 s; what is left is for the exit itself.
SECONDS = 25.0

FROM_CHECKPOINT = "resume=auto with the run's folder goes on from its newest checkpoint, or starts anew without one"

log = logging.getLogger(__name__)


class Leaving:
    """Whether the run was asked to leave, and by whom (`reason`); a context in which the signals are caught.

    While `deferred` the work looks at `reason` where it can stop; otherwise the signal raises Preempted at once.
    After `seconds`, or at a second Ctrl-C, the process ends in any case: `at_last(status, sentence)` is called and has
    to end it. `remedy` is how the work is taken up again.
    """

    def __init__(self, remedy: str = FROM_CHECKPOINT, seconds: float = SECONDS) -> None:
        self.remedy = remedy
        self.reason: str | None = None
        self.deferred = False
        self.at_last: Callable[[int, str], None] = lambda status, sentence: os._exit(status)
        self._seconds = seconds
        self._handlers: dict[signal.Signals, Any] = {}
        self._timer: threading.Timer | None = None

    def ask(self, reason: str) -> None:
        """Ask the run to leave; only the first reason counts."""
        if self.reason is None:
            self.reason = reason
            self._timer = threading.Timer(self._seconds, self._end)
            self._timer.daemon = True
            self._timer.start()

    def raise_if_asked(self) -> None:
        """Raise Preempted if the run was asked to leave."""
        if self.reason is not None:
            raise Preempted(self._sentence())

    def _sentence(self) -> str:
        return f"Left on {'Ctrl-C' if self._is_ctrl_c() else self.reason}; {self.remedy}."

    def _is_ctrl_c(self) -> bool:
        return self.reason == signal.SIGINT.name

    def _end(self) -> None:
        self.at_last(CTRL_C if self._is_ctrl_c() else Preempted.status, self._sentence())

    def _caught(self, number: int, frame: FrameType | None) -> None:
        first = self.reason is None
        self.ask(signal.Signals(number).name)
        if first and not self.deferred:
            self.raise_if_asked()
        if number == signal.SIGINT:
            # Not in the handler: it may have interrupted what holds a lock of the log.
            threading.Thread(target=self._wait_a_little if first else self._end, daemon=True).start()

    def _wait_a_little(self) -> None:
        log.info("Ctrl-C: what is begun is brought to its end; Ctrl-C once more ends the run at once")

    def __enter__(self) -> "Leaving":
        if threading.current_thread() is threading.main_thread():
            caught = (*SIGNALS, *([REQUEUES] if "SUBMITIT_EXECUTOR" in os.environ else []))
            # SIGINT stays ignored where a shell started the run in the background.
            listens = [number for number in caught if signal.getsignal(number) != signal.SIG_IGN]
            self._handlers = {number: signal.signal(number, self._caught) for number in listens}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if isinstance(error, Preempted) and self._is_ctrl_c():
            error.status = CTRL_C
        if isinstance(error, Preempted) and REQUEUES in self._handlers and self.reason == REQUEUES.name:
            self._handlers[REQUEUES](REQUEUES, None)  # on process 0 it ends the process


class LeaveBetweenBatches(pl.Callback):
    """Leaves where nothing is lost: after a training step of all ranks, or between two pictures of an evaluation.

    What is to be saved then is the checkpoint callback's business, see `LastCheckpoint`.
    """

    def __init__(self, leaving: Leaving) -> None:
        self._leaving = leaving

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._leaving.deferred = True
        self._leaving.raise_if_asked()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._leaving.deferred = False

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if isinstance(pl_module, SegmentationModule) and self._leaving.reason is not None:
            pl_module.leave = True

    def on_validation_batch_end(self, *_: Any) -> None:
        self._leaving.raise_if_asked()

    def on_test_batch_end(self, *_: Any) -> None:
        self._leaving.raise_if_asked()
