"""CRF refinement in worker processes, so that the network does not wait for it."""

from __future__ import annotations

import mmap
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from deeplab.crf import backends
from deeplab.crf.params import CRFParams
from deeplab.crf.problem import to_numpy

LabelMap: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.int16]

# The child is told where to import from and then serves; it never imports the parent's main module, as
# multiprocessing's spawn would, and so neither torch nor whatever else that loads.
_CHILD = (
    "import sys; sys.path[:] = {path!r}; from deeplab.crf.worker_process import serve; serve({read}, {write}, {shared})"
)


def default_num_workers() -> int:
    """Return the number of cores this process may use, divided by the training processes on this machine."""
    return max(1, backends.available_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


class CRFWorkerError(RuntimeError):
    """A worker process ended without an answer, for example killed for want of memory."""


class CRFWorkers:
    """A pool of processes that turn (probabilities, image) into a refined label map.

    At most 2 * num_workers pictures wait or are worked on: `submit` blocks until there is room, so that memory does not
    grow. Use it as a context manager: leaving it waits for all pictures, leaving it by an exception cancels them.

    num_workers: None takes the cores of this process divided by LOCAL_WORLD_SIZE.
    num_threads: of each worker.

    Raises:
        ValueError: if the backend is not available or a number is below 1.
    """

    def __init__(
        self, params: CRFParams, backend: str = "auto", num_workers: int | None = None, num_threads: int = 1
    ) -> None:
        backends.check(backend)
        count = default_num_workers() if num_workers is None else num_workers
        if count < 1:
            raise ValueError(f"num_workers = {count}: expected 1 or more")
        backends.check_threads(num_threads)
        chosen = backends.automatic() if backend == "auto" else backend
        self._tasks: queue.Queue[_Task | None] = queue.Queue(maxsize=count)
        self._failure: BaseException | None = None
        self._closed = False
        self._workers = [_Worker(params, chosen, num_threads) for _ in range(count)]
        self._threads = [threading.Thread(target=self._feed, args=(w,), daemon=True) for w in self._workers]
        for thread in self._threads:
            thread.start()

    def submit(self, probs: Any, image: Any) -> Future[LabelMap]:
        """Hand over probabilities (K, H, W) and the picture (H, W, 3) uint8; the future gives the label map (H, W).

        Arrays or tensors; they must not change before the future is done. The label map is uint8, or int16 for more
        than 256 labels. Errors in the picture surface from the future, and a worker's death as CRFWorkerError.

        Raises:
            RuntimeError: after `close`.
            CRFWorkerError: if a worker died before.
        """
        if self._closed:
            raise RuntimeError("these CRF workers are closed")
        future: Future[LabelMap] = Future()
        task = _Task(to_numpy(probs, "probs"), to_numpy(image, "image"), future)
        while True:
            if self._failure is not None:
                raise CRFWorkerError(str(self._failure)) from self._failure
            try:
                self._tasks.put(task, timeout=0.2)
            except queue.Full:
                continue
            return future

    def close(self, cancel: bool = False) -> None:
        """Finish what was submitted (or cancel it) and end the processes."""
        if self._closed:
            return
        self._closed = True
        if cancel:
            _drain(self._tasks, lambda future: future.cancel())
            for worker in self._workers:
                worker.kill()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> CRFWorkers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(cancel=kind is not None)

    def _feed(self, worker: _Worker) -> None:
        while (task := self._tasks.get()) is not None:
            if not task.future.set_running_or_notify_cancel():
                continue
            if self._failure is not None:
                task.future.set_exception(CRFWorkerError(str(self._failure)))
                continue
            try:
                task.future.set_result(worker.refine(task.probs, task.image))
            except CRFWorkerError as death:
                self._failure = death
                task.future.set_exception(death)
            except Exception as error:
                # Whatever happened belongs to the one who asked for this picture; the worker serves on.
                task.future.set_exception(error)
        worker.stop()


class _Task:
    def __init__(self, probs: Any, image: Any, future: Future[LabelMap]) -> None:
        self.probs, self.image, self.future = probs, image, future


def _drain(tasks: queue.Queue[_Task | None], act: Callable[[Future[LabelMap]], object]) -> None:
    while True:
        try:
            task = tasks.get_nowait()
        except queue.Empty:
            return
        if task is not None:
            act(task.future)


class _Worker:
    """One process, with a pipe each way and a piece of shared memory that holds the picture on its way in."""

    def __init__(self, params: CRFParams, backend: str, num_threads: int) -> None:
        self._shared = tempfile.TemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)  # noqa: PTH112, SIM115
        self._size = 0
        self._map: mmap.mmap | None = None
        child_reads, parent_writes = os.pipe()
        parent_reads, child_writes = os.pipe()
        descriptors = (child_reads, child_writes, self._shared.fileno())
        code = _CHILD.format(path=sys.path, read=child_reads, write=child_writes, shared=descriptors[2])
        environment = {**os.environ, "OMP_NUM_THREADS": str(num_threads)}
        # Ctrl-C, and the end of a job that is announced to all its processes, are the parent's, which may have a
        # checkpoint to write first; the child inherits that they are blocked. It ends when its pipe closes.
        signals = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            self._process = subprocess.Popen([sys.executable, "-c", code], pass_fds=descriptors, env=environment)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.close(child_reads)
        os.close(child_writes)
        self._answers = Connection(parent_reads, writable=False)
        self._questions = Connection(parent_writes, readable=False)
        self._send((params, backend, num_threads))

    def refine(self, probs: npt.NDArray[Any], image: npt.NDArray[Any]) -> LabelMap:
        """Return the label map of one picture, or raise what the worker raised."""
        scores = np.asarray(probs, dtype=np.float32)
        self._reserve(scores.nbytes + image.nbytes)
        assert self._map is not None
        np.ndarray(scores.shape, np.float32, self._map)[...] = scores
        np.ndarray(image.shape, image.dtype, self._map, offset=scores.nbytes)[...] = image
        self._send((self._size, scores.shape, image.shape, image.dtype.str))
        try:
            ok, answer = self._answers.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error
        if not ok:
            raise answer
        labels: LabelMap = answer
        return labels

    def stop(self) -> None:
        """End the process and give its memory back."""
        self._questions.close()
        self._answers.close()
        self._process.wait()
        if self._map is not None:
            self._map.close()
        self._shared.close()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def _reserve(self, size: int) -> None:
        if size > self._size:
            if self._map is not None:
                self._map.close()
            self._shared.truncate(size)
            self._map = mmap.mmap(self._shared.fileno(), size)
            self._size = size

    def _send(self, message: object) -> None:
        try:
            self._questions.send(message)
        except OSError as error:
            raise self._death() from error

    def _death(self) -> CRFWorkerError:
        code = self._process.wait()
        cause = (
            f"killed by signal {-code} (9 is what the system does when memory runs out)"
            if code < 0
            else f"status {code}"
        )
        return CRFWorkerError(f"a CRF worker process ended ({cause}): see its output above, or set crf.workers lower")
