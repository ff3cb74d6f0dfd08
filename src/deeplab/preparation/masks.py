"""Masks made of annotations: in parallel, each file whole or not at all, files that are there left alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from deeplab.errors import InputError
from deeplab.reporting.parallel import work_through
from deeplab.reporting.predictions import write_labels

Labels = npt.NDArray[np.uint8]
Convert = Callable[[Any], Labels | None]


@dataclass(frozen=True)
class MaskJob:
    """A mask to be made: its file, and what the conversion takes, mostly the path of the annotation."""

    target: Path
    source: Any


@dataclass(frozen=True)
class MaskWriter:
    """Writes masks as palette PNGs; `overwrite` makes those again that are there."""

    palette: npt.NDArray[np.uint8]
    overwrite: bool = False
    workers: int | None = None
    console: Console | None = None

    def write(self, convert: Convert, jobs: Sequence[MaskJob], what: str) -> str:
        """Make all masks that are missing and return a sentence on it; `convert(source)` gives labels uint8 (H, W),
        or None for an annotation that makes no mask.

        Raises InputError when a mask cannot be written, at once; when annotations cannot be used, after the others are
        done, so that a second run has only those left.
        """
        todo = [job for job in jobs if self.overwrite or not job.target.is_file()]
        refused: list[str] = []
        written = 0
        make = partial(_make, convert, self.palette)
        for outcome in work_through(make, todo, f"write {what}", self.workers, self.console):
            if isinstance(outcome, str):
                refused.append(outcome)
            else:
                written += outcome
        if refused:
            raise InputError(
                f"{len(refused)} of {len(jobs)} masks could not be made ({what}), the others are done; get what is "
                f"wrong again and repeat the command; the first: {refused[0]}"
            )
        return f"{what}: {written} masks written, {len(jobs) - len(todo)} were there."


def _make(convert: Convert, palette: npt.NDArray[np.uint8], job: MaskJob) -> str | bool:
    """Make one mask; return what is wrong with its annotation, or whether there was a mask to make."""
    try:
        labels = convert(job.source)
    except InputError as error:
        return str(error)
    if labels is not None:
        write_labels(job.target, labels, palette)
    return labels is not None
