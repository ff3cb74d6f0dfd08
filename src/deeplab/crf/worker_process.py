"""What a CRF worker process runs; it imports numpy and the backend, and nothing more."""

from __future__ import annotations

import mmap
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

from deeplab.crf.dense_crf import DenseCRF
from deeplab.crf.params import CRFParams


def serve(read: int, write: int, shared: int) -> None:
    """Answer pictures from the pipe `read` on the pipe `write` until the parent closes it or is gone.

    The first message is (params, backend, num_threads); each further one says how a picture lies in the shared memory.
    """
    questions, answers = Connection(read, writable=False), Connection(write, readable=False)
    params, backend, num_threads = questions.recv()
    crf: DenseCRF | None = None
    memory: mmap.mmap | None = None
    while True:
        try:
            size, scores_shape, image_shape, image_type = questions.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            crf = crf or _crf(params, backend, num_threads)
            if memory is None or len(memory) != size:
                memory = mmap.mmap(shared, size)
            scores: npt.NDArray[np.float32] = np.ndarray(scores_shape, np.float32, memory)
            image: npt.NDArray[Any] = np.ndarray(image_shape, np.dtype(image_type), memory, offset=scores.nbytes)
            answer: tuple[bool, object] = (True, label_map(crf, scores, image))
        except Exception as error:
            # Raised again in the parent, from the picture's future.
            answer = (False, _portable(error))
        try:
            answers.send(answer)
        except BrokenPipeError:
            return  # the parent is gone


def label_map(crf: DenseCRF, scores: npt.NDArray[Any], image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the most probable label of every pixel, uint8, or int16 for more than 256 labels."""
    marginals = crf(scores, image)
    return np.asarray(marginals.argmax(axis=0)).astype(np.uint8 if len(marginals) <= 256 else np.int16)


def _crf(params: CRFParams, backend: str, num_threads: int) -> DenseCRF:
    return DenseCRF(params, backend, num_threads)


def _portable(error: Exception) -> Exception:
    # ValueError and MemoryError pickle; an exception of some library may not, so its text travels instead.
    return error if type(error) in (ValueError, MemoryError) else RuntimeError(f"{type(error).__name__}: {error}")
