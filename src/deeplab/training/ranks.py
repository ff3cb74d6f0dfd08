"""The processes of a run on several devices: what one knows all get to know, and nobody waits for the dead.

Every process shows a sign of life in a store over TCP (the one by which the processes found each other) and looks
there for word of a failure. So a mistake that one of them meets ends all of them with the same sentence, whichever
exchange the others wait in, and on any backend: NCCL alone would wait for its time-out.
"""

import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from deeplab.errors import CTRL_C, InputError, Preempted, ProcessLostError, RunEndedError
from deeplab.training.leaving import Leaving

INTERVAL = 0.5
# Seconds for the main thread to come out of what it does before the process is ended from beside it.
PATIENCE = 8.0
DONE, LEFT, FAILED = "done", "left", "failed"
BROKEN = re.compile(
    r"connection (closed|reset|refused|was)|broken pipe|socket|gloo|nccl|processgroup|timed out|store", re.I
)

log = logging.getLogger(__name__)

Failure = dict[str, Any]


class Ranks:
    """This process among the others: a context around the run. Alone, it does nothing.

    Args:
        leaving: is asked when another process was.
        lost_after: seconds without a sign of life after which a process counts as lost.
        at_last: writes down (state, error) when the process is ended from beside the main thread.

    Leaving the context by an exception tells it to the others; if it comes from another process's end, that one's
    sentence is raised instead: InputError if it was one, else ProcessLostError. An exception that process 0 prints
    has `told` set on the others.
    """

    def __init__(self, leaving: Leaving, lost_after: float, at_last: Callable[[str, str], None]) -> None:
        self.children: list[subprocess.Popen[bytes]] = []
        self.rank, self.world = 0, 1
        self._leaving = leaving
        self._lost_after = lost_after
        self._at_last = at_last
        self._store: Any = None
        self._beat = 0
        self._signs: dict[int, str] = {}
        self._seen: dict[int, float] = {}
        self._failure: Failure | None = None
        self._exiting, self._stop = threading.Event(), threading.Event()
        self._looked = 0.0
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._look_on, self._watch)]
        leaving.at_last = self._end_now

    def connect(self, store: Any, rank: int, world: int) -> None:
        """Begin to watch; `store` is this class's alone, for a store serves one request at a time."""
        if self._store is None:
            self._store, self.rank, self.world = store, rank, world
            self._looked = time.monotonic()
            self._seen = dict.fromkeys(range(world), self._looked)
            for thread in self._threads:
                thread.start()

    def compare(self, what: dict[str, Any], timeout: float) -> None:
        """Raise InputError on a process whose `what` (plain values by name) differs from that of process 0."""
        mine = {name: json.dumps(value, sort_keys=True, default=str) for name, value in what.items()}
        end = time.monotonic() + timeout
        if self.rank == 0:
            self._store.set("what", json.dumps(mine))
            self._wait_for_agreement(end)
            return
        while not self._store.check(["what"]):
            if time.monotonic() > end:
                raise ProcessLostError(f"Process 0 did not say within {timeout:.0f} s how it is configured.")
            time.sleep(0.05)
        first = json.loads(self._store.get("what"))
        for name in sorted(mine.keys() | first.keys()):
            if mine.get(name) != first.get(name):
                raise InputError(
                    f"Process {self.rank} of {self.world} on {os.uname().nodename} runs with {name}={mine.get(name)}, "
                    f"process 0 with {first.get(name)}: start all with the same code and configuration."
                )
        self._store.set(f"agreed/{self.rank}", "")

    def _wait_for_agreement(self, end: float) -> None:
        while not self._store.check([f"agreed/{rank}" for rank in range(1, self.world)]):
            if self._failure is not None:
                raise _exception(self._failure)
            if time.monotonic() > end:
                raise ProcessLostError("Not all processes said in time how they are configured; see their logs.")
            time.sleep(0.05)

    # Beside the main thread: one thread looks, the other watches it, for a request over a cut link has no end

    def _look_on(self) -> None:
        while not self._stop.wait(INTERVAL) and self._failure is None:
            try:
                self._look()
            except RuntimeError:  # the store is gone, and with it process 0
                self._failure = self._failure or self._lost(0, "cannot be reached any more")
            self._looked = time.monotonic()

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            if self._failure is None and time.monotonic() - self._looked > self._lost_after:
                others = f"does not answer for {self._lost_after:.0f} s"
                self._failure = self._lost(1 if self.rank == 0 else 0, others)
            if self._failure is not None:
                if not self._exiting.wait(PATIENCE) or not self._stop.wait(3 * PATIENCE):
                    self._end_now(2 if self._failure["kind"] == "input" else 1, self._failure["text"])
                return

    def _look(self) -> None:
        self._beat += 1
        if not self._exiting.is_set():
            self._store.set(f"sign/{self.rank}", str(self._beat))
        if self._store.check(["failure"]):
            self._failure = json.loads(self._store.get("failure"))
            if self.rank == 0:
                self._store.set("told", "")
            return
        if self._store.check(["leave"]):
            self._leaving.ask("the word of another process")
        elif self._leaving.reason is not None:
            self._store.set("leave", "")
        for rank in range(1, self.world) if self.rank == 0 else (0,):
            self._look_at(rank)

    def _look_at(self, rank: int) -> None:
        now = time.monotonic()
        key = f"sign/{rank}"
        sign = self._store.get(key).decode() if self._store.check([key]) else ""
        if sign != self._signs.get(rank):
            self._signs[rank], self._seen[rank] = sign, now
        if sign in (DONE, LEFT, FAILED):
            return
        child = self.children[rank - 1] if 0 < rank <= len(self.children) else None
        status = None if child is None else child.poll()
        if status is not None and now - self._seen[rank] > 2 * INTERVAL:
            why = f"was killed by signal {-status}" if status < 0 else f"ended with status {status} and no word"
            self._publish(self._lost(rank, why))
        elif now - self._seen[rank] > self._lost_after:
            self._publish(self._lost(rank, f"has given no sign of life for {self._lost_after:.0f} s"))

    def _lost(self, rank: int, why: str) -> Failure:
        return {"rank": rank, "kind": "lost", "text": f"Process {rank} of {self.world} {why}; {self._leaving.remedy}."}

    def _publish(self, failure: Failure) -> None:
        self._failure = failure
        self._store.set("failure", json.dumps(failure))

    def _end_now(self, status: int, sentence: str) -> None:
        """End this process from beside its main thread, which waits for somebody who will not come."""
        state = "preempted" if status in (Preempted.status, CTRL_C) else "failed"
        if self._prints():
            log.error("%s: %s", sys.argv[0] if sys.argv[0].startswith("deeplab ") else "deeplab", sentence)
        if self.rank == 0:
            self._at_last(state, sentence)
        for child in self.children:
            child.kill()
        logging.shutdown()
        os._exit(status)

    def _prints(self) -> bool:
        """Whether this process speaks for all: process 0, or process 1 if that one is gone."""
        gone = self._failure is not None and self._failure["kind"] == "lost" and self._failure["rank"] == 0
        return self.rank == (1 if gone else 0)

    # The end

    def __enter__(self) -> "Ranks":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._store is not None:
                self._end(error)
        finally:
            self._exiting.set()
            self._stop.set()
            for thread in self._threads:
                if thread.is_alive():
                    thread.join(PATIENCE)
            self._end_children(error is not None or self._failure is not None)

    def _end(self, error: BaseException | None) -> None:
        self._exiting.set()
        if error is not None and not isinstance(error, Preempted):
            other = self._other_failure(error)
            if isinstance(other, Preempted):
                error = other
            elif other is not None:
                self._sign(FAILED)
                other.told = not self._prints()  # type: ignore[attr-defined]
                self._wait_for_others(PATIENCE)
                raise other from error
        if error is None:
            self._sign(DONE)
            self._wait_for_others(None)
            return
        if isinstance(error, Preempted):
            self._set("leave", "")
            self._sign(LEFT)
            error.told = self.rank > 0  # type: ignore[attr-defined]
        else:
            self._tell(error)
        self._wait_for_others(PATIENCE)
        raise error

    def _other_failure(self, error: BaseException) -> Exception | None:
        """What another process's end would have this one raise; None if `error` is this one's own."""
        broken = isinstance(error, RuntimeError) and BROKEN.search(str(error)) is not None
        end = time.monotonic() + (PATIENCE if broken else 0)
        while True:
            if self._failure is not None:
                return _exception(self._failure)
            if broken and self._has_left():
                return Preempted(f"Left as another process did; {self._leaving.remedy}.")
            if time.monotonic() >= end:
                break
            time.sleep(0.1)
        if not broken:
            return None
        silent = [rank for rank, seen in self._seen.items() if rank != self.rank and time.monotonic() - seen > 4]
        if self.rank == 0 and silent:
            return ProcessLostError(self._lost(silent[0], "ended without a word, or cannot be reached")["text"])
        if re.search("timed out", str(error), re.I):
            what = "An exchange between the processes took longer than trainer.timeout"
        else:
            what = "The connection to another process broke"
        return ProcessLostError(f"{what}; {self._leaving.remedy}.")

    def _has_left(self) -> bool:
        try:
            return bool(self._store.check(["leave"])) or LEFT in self._signs.values()
        except RuntimeError:
            return False

    def _tell(self, error: BaseException) -> None:
        kind = "input" if isinstance(error, InputError) else "lost" if isinstance(error, RunEndedError) else "fault"
        text = str(error) if kind != "fault" else f"Process {self.rank} of {self.world} failed: {_brief(error)}"
        self._set("failure", json.dumps({"rank": self.rank, "kind": kind, "text": text}))
        self._sign(FAILED)
        if self.rank > 0:
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end and not self._has("told"):
                time.sleep(0.1)
            error.told = kind != "fault" and self._has("told")  # type: ignore[attr-defined]
        else:
            self._set("told", "")

    def _wait_for_others(self, seconds: float | None) -> None:
        """Process 0 keeps the store, so it goes last."""
        end = time.monotonic() + (3600 if seconds is None else seconds)
        while self.rank == 0 and time.monotonic() < end and (seconds is not None or self._failure is None):
            signs = [self._get(f"sign/{rank}") for rank in range(1, self.world)]
            if all(sign in (DONE, LEFT, FAILED) for sign in signs):
                return
            dead = [child.poll() is not None for child in self.children]
            if dead and all(dead) and len(dead) == self.world - 1:
                return
            time.sleep(0.1)
        if seconds is None and self.rank == 0 and self._failure is not None:
            raise ProcessLostError(self._failure["text"])

    def _end_children(self, failed: bool) -> None:
        for child in self.children:
            try:
                child.wait(PATIENCE if failed and self._store is not None else 0 if failed else 60)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _sign(self, sign: str) -> None:
        self._set(f"sign/{self.rank}", sign)

    def _set(self, key: str, value: str) -> None:
        try:
            self._store.set(key, value)
        except RuntimeError:
            log.debug("The store is gone: %s is not said", key)

    def _has(self, key: str) -> bool:
        try:
            return bool(self._store.check([key]))
        except RuntimeError:
            return False

    def _get(self, key: str) -> str:
        return self._store.get(key).decode() if self._has(key) else ""


def _exception(failure: Failure) -> Exception:
    return (InputError if failure["kind"] == "input" else ProcessLostError)(failure["text"])


def _brief(error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
