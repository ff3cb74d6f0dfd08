"""From files of class scores to refined label maps: for users of other networks, who want the CRF alone."""

from collections import deque
from concurrent.futures import Future
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from deeplab.crf.workers import CRFWorkers, LabelMap
from deeplab.errors import InputError
from deeplab.inference.score_files import FORMS, Kind, read_scores, score_file
from deeplab.reporting.palette import Palette
from deeplab.reporting.picture_jobs import Job, Outcome, Picture, Reader, check_writable, plan, say
from deeplab.reporting.predictions import write_labels
from deeplab.reporting.progress import progress_bar

Scores = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def refine(
    workers: CRFWorkers | None,
    images: Path,
    probs: Path,
    output: Path,
    palette: Palette,
    *,
    read_picture: Reader,
    unary: Kind = "probabilities",
    kind: Kind | None = None,
    align_corners: bool = False,
    max_crf_pixels: int | None = None,
    console: Console | None = None,
) -> Outcome:
    """Refine the scores of a photo, or of all photos of a folder and its subfolders, into palette PNG files.

    For `a/b.jpg` below `images` the scores lie below `probs` at `a/b.npz` or another form of `read_scores`, and the
    label map goes to `a/b.png` below `output`.

    Args:
        workers: None writes the scores' most probable labels, not refined.
        unary: what the CRF's parameters take; scores of the other kind are converted.
        max_crf_pixels: larger pictures stay unrefined, and that is said; None: no limit.
        read_picture: RGB uint8 (H, W, 3), or InputError; such pictures, and those whose scores cannot be used, are
            reported and skipped.

    Raises:
        InputError: nothing to read, or no place to write.
    """
    if not probs.is_dir():
        raise InputError(f"probs={probs}: there is no such folder.")
    jobs = plan(images, output, key="images")
    folder = images if images.is_dir() else images.parent
    check_writable(output)
    outcome = Outcome(output, verb="refined" if workers is not None else "labelled")
    waiting: deque[tuple[Job, Future[LabelMap]]] = deque()
    with progress_bar(console or Console(stderr=True)) as progress:
        bar = progress.add_task("refine", total=len(jobs), name="")

        def collect() -> None:
            job, future = waiting.popleft()
            try:
                write_labels(job.labels, future.result(), palette)
                outcome.written += 1
            except InputError:  # no place to write: no use in going on
                raise
            except ValueError as error:  # what the CRF, or a PNG of labels, refuses
                outcome.skipped.append(f"{job.source}: {error}.")
                outcome.without_scores += 1
                say(progress, "Skipped", outcome.skipped[-1])
            progress.advance(bar)

        for job in jobs:
            progress.update(bar, name=escape(job.source.name))
            image = None
            try:
                image = read_picture(job.source)
                scores = _scores(probs, job.source.relative_to(folder), image, kind, unary, align_corners)
            except InputError as error:
                outcome.without_scores += image is not None
                outcome.skipped.append(str(error))
                say(progress, "Skipped", str(error))
                progress.advance(bar)
                continue
            pool = workers
            if pool is not None and max_crf_pixels is not None and image.shape[0] * image.shape[1] > max_crf_pixels:
                pool = None
                outcome.unrefined.append(job.source)
                size = f"{image.shape[1]} x {image.shape[0]}"
                say(progress, "No CRF", f"{job.source}: {size} is more than crf.max_pixels={max_crf_pixels}.")
            waiting.append((job, pool.submit(scores, image) if pool is not None else _as_they_are(scores)))
            while waiting and waiting[0][1].done():
                collect()
        while waiting:
            collect()
    return outcome


def _scores(probs: Path, place: Path, image: Picture, kind: Kind | None, unary: Kind, align_corners: bool) -> Scores:
    path = score_file(probs, place.with_suffix("").as_posix())
    if path is None:
        raise InputError(f"{place}: there are no scores of it in {probs} ({FORMS}).")
    height, width = image.shape[:2]
    return read_scores(path, kind).at((height, width), align_corners).unary(unary)


def _as_they_are(scores: Scores) -> Future[LabelMap]:
    future: Future[LabelMap] = Future()
    future.set_result(scores.argmax(axis=0).astype(np.uint8 if len(scores) <= 256 else np.int16))
    return future
