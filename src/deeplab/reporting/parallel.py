"""Work on many files in many processes, with a progress bar."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2
from rich.console import Console

from deeplab.errors import InputError
from deeplab.reporting.progress import progress_bar

Job = TypeVar("Job")
Result = TypeVar("Result")

_CHUNK = 16  # jobs of milliseconds each: fewer at a time would spend their time on the way to the worker
_AHEAD = 4  # chunks in flight a worker


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def work_through(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    description: str,
    workers: int | None = None,
    console: Console | None = None,
) -> Iterator[Result]:
    """Yield `function(job)` for every job, in order, worked out by `workers` processes (None: one a core).

    Leaving the iteration early gives up what has not begun. One worker, or few jobs, need no other process. The
    function and its jobs must be picklable; an exception of the function is raised here.

    Raises InputError when a worker dies, which mostly means that memory ran out.
    """
    if not jobs:
        return
    count = available_cores() if workers is None else workers
    with progress_bar(console or Console(stderr=True)) as progress:
        bar = progress.add_task(description, total=len(jobs), name="")
        results = map(function, jobs) if count == 1 or len(jobs) <= _CHUNK else _in_processes(function, jobs, count)
        for result in results:
            progress.advance(bar)
            yield result


def _in_processes(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    # A fork of this process would take over the locks of its threads, such as the progress bar's.
    context = multiprocessing.get_context("forkserver")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread)
    chunks = (jobs[start : start + _CHUNK] for start in range(0, len(jobs), _CHUNK))
    waiting: deque[Future[list[Result]]] = deque()
    try:
        for chunk in chunks:
            waiting.append(pool.submit(_chunk, function, chunk))
            if len(waiting) >= _AHEAD * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool as error:
        raise InputError(
            "A worker process was ended from outside, mostly for lack of memory; set workers to fewer."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _chunk(function: Callable[[Job], Result], jobs: Sequence[Job]) -> list[Result]:
    return [function(job) for job in jobs]


def _one_thread() -> None:
    cv2.setNumThreads(0)  # each worker would otherwise start threads for all cores
