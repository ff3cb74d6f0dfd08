"""Scores pictures at settings of the CRF on all cores, and keeps what was scored before."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType

import numpy as np
from rich.console import Console

from deeplab.crf.params import CRFParams
from deeplab.crf_search import process
from deeplab.crf_search.sources import Source
from deeplab.crf_search.store import Results, Setting
from deeplab.crf_search.tallies import Tally
from deeplab.errors import InputError
from deeplab.reporting.progress import progress_bar

log = logging.getLogger(__name__)

Task = tuple[int, tuple[Setting, ...]]


class Scorer:
    """Brings (picture, setting) pairs into `results`, each once.

    A picture's scores are made here, by `source`, and written to `cache`; processes read them and run the CRF on one
    thread each. A task is a picture with the settings that share its lattices. Use it as a context manager.
    """

    def __init__(
        self,
        source: Source,
        results: Results,
        cache: Path,
        fixed: CRFParams,
        backend: str,
        processes: int,
        console: Console | None = None,
    ) -> None:
        self._source = source
        self._results = results
        self._cache = cache
        self._fixed = fixed
        self._backend = backend
        self._processes = processes
        self._console = console or Console(stderr=True)
        self._pool: ProcessPoolExecutor | None = None
        self._running: dict[Future[list[Tally]], Task] = {}
        self._open_tasks: Counter[int] = Counter()
        self.num_scored = 0

    def score(self, indices: Sequence[int], settings: Sequence[Setting], what: str, keep: bool = True) -> Tally:
        """Return the tallies (settings, pictures, 3, K), scoring what is not known yet.

        keep: leave the pictures' scores on the disk for the next call.

        Raises InputError for a picture that cannot be scored, and for a process that was killed.
        """
        ids = [self._source.ids[index] for index in indices]
        todo = {i: [s for s in settings if (self._source.ids[i], s) not in self._results] for i in indices}
        if any(todo.values()):
            self._work(todo, len(indices) * len(settings), what, keep)
        return np.stack([[self._results[name, setting] for name in ids] for setting in settings])

    def _work(self, todo: dict[int, list[Setting]], total: int, what: str, keep: bool) -> None:
        with progress_bar(self._console) as progress:
            bar = progress.add_task(what, total=total, completed=total - sum(map(len, todo.values())), name="")
            for index, missing in todo.items():
                if not missing:
                    continue
                progress.update(bar, name=self._source.ids[index].replace("[", r"\["))
                groups = _groups(missing)
                path = self._path(index)
                if not path.is_file():
                    self._source.prepare(index, path)
                self._open_tasks[index] = len(groups)
                for group in groups:
                    while len(self._running) >= 2 * self._processes:
                        progress.advance(bar, self._collect(keep))
                    self._submit(index, group)
            while self._running:
                progress.advance(bar, self._collect(keep))

    def __enter__(self) -> "Scorer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, without the tasks that wait."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _path(self, index: int) -> Path:
        return self._cache / f"{self._source.ids[index]}.npz"

    def _submit(self, index: int, group: tuple[Setting, ...]) -> None:
        if self._pool is None:
            # Spawned: a fork would copy torch's threads and locks.
            self._pool = ProcessPoolExecutor(self._processes, get_context("spawn"), initializer=process.start)
        try:
            future = self._pool.submit(process.score, self._path(index), group, self._fixed, self._backend)
        except BrokenProcessPool as error:
            raise _killed() from error
        self._running[future] = (index, group)

    def _collect(self, keep: bool) -> int:
        """Take in the tasks that are done, at least one; return the number of results."""
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        count = 0
        for future in done:
            index, group = self._running.pop(future)
            name = self._source.ids[index]
            try:
                tallies = future.result()
            except BrokenProcessPool as error:
                raise _killed() from error
            except InputError:
                raise
            except ValueError as error:
                raise InputError(f"{name}: {error}.") from error
            for setting, counts in zip(group, tallies, strict=True):
                self._results.add(name, setting, counts)
            count += len(group)
            self._open_tasks[index] -= 1
            if not keep and not self._open_tasks[index]:
                self._path(index).unlink(missing_ok=True)
        self.num_scored += count
        return count


def _groups(settings: Iterable[Setting]) -> list[tuple[Setting, ...]]:
    """Settings that share lattices together; no CRF goes with the first."""
    by_lattices: dict[tuple[float, ...], list[Setting]] = {}
    plain: list[Setting] = []
    for setting in settings:
        if setting is None:
            plain.append(setting)
        else:
            by_lattices.setdefault(setting.lattices(), []).append(setting)
    groups = list(by_lattices.values()) or [[]]
    return [tuple(plain + group if i == 0 else group) for i, group in enumerate(groups)]


def _killed() -> InputError:
    return InputError(
        "A process of the search was killed, mostly for want of memory: set search.processes lower and run the same "
        "command with the same output; it goes on where it stood."
    )
