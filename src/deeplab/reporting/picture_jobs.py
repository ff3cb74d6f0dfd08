"""The photos that a command works through, the files made of each, and what became of them."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import numpy.typing as npt
from rich.markup import escape
from rich.progress import Progress

from deeplab.data.reading import is_special
from deeplab.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2")

Picture = npt.NDArray[np.uint8]
Reader = Callable[[Path], Picture]


@dataclass(frozen=True)
class Job:
    """One picture and the files made of it."""

    source: Path
    labels: Path
    overlay: Path
    probabilities: Path


@dataclass
class Outcome:
    """What became of the pictures."""

    output: Path
    written: int = 0
    skipped: list[str] = field(default_factory=list)
    """The reason for each picture that could not be read, or whose scores could not be used."""
    without_scores: int = 0
    """How many of them were skipped for their scores."""
    unrefined: list[Path] = field(default_factory=list)
    """Pictures too large for the CRF; their predictions are the network's."""
    verb: str = "predicted"

    @property
    def exit_code(self) -> int:
        """0 if every picture was predicted, else 1."""
        return 1 if self.skipped else 0

    def sentence(self) -> str:
        """Sum up in one sentence."""
        text = f"{_pictures(self.written)} {self.verb} into {self.output}"
        if self.unrefined:
            text += f", {len(self.unrefined)} of them without the CRF (larger than crf.max_pixels)"
        unread = len(self.skipped) - self.without_scores
        reasons = [f"{_pictures(unread)} could not be read and went without"] if unread else []
        if self.without_scores:
            reasons.append(
                f"{_pictures(self.without_scores)} went without, for scores are missing or could not be used"
            )
        return text + (f"; {'; '.join(reasons)}." if reasons else ".")


def _pictures(number: int) -> str:
    return f"{number} picture" if number == 1 else f"{number} pictures"


def say(progress: Progress, what: str, text: str) -> None:
    """Print a line above the progress bar."""
    progress.console.print(f"[yellow]{what}:[/] {escape(text)}", soft_wrap=True, highlight=False)


def plan(source: Path, output: Path, key: str = "input") -> list[Job]:
    """List the pictures and the files to be made of them, sorted; hidden files and a folder `output` are passed over.

    Raises InputError if there is no picture, `output` is the input's own folder or has the name of a picture file, or
    two pictures would become one file. `key` is what the messages call the source.
    """
    if not source.exists():
        raise InputError(f"{key}={source}: there is no such file or folder.")
    if output.suffix.lower() in SUFFIXES and not output.is_dir():
        raise InputError(
            f"output={output} names a picture, but several files are written for each input, into a folder; name a "
            f"folder, such as output={output.with_suffix('')}."
        )
    folder = source if source.is_dir() else source.parent
    if output.resolve() == folder.resolve():
        raise InputError(
            f"output={output} is the folder of the input, whose pictures could be overwritten: name another."
        )
    pictures = _walk(source, output) if source.is_dir() else [source]
    if not pictures:
        raise InputError(f"{key}={source}: no picture in this folder ({', '.join(SUFFIXES)}).")
    stems = Counter(picture.relative_to(folder).with_suffix("") for picture in pictures)
    jobs = []
    for picture in pictures:
        place = picture.relative_to(folder)
        name = place.name if stems[place.with_suffix("")] > 1 else place.stem
        beside = output / place.parent
        names = (f"{name}.png", f"{name}_overlay.jpg", f"{name}_probabilities.npz")
        jobs.append(Job(picture, *(beside / made for made in names)))
    _check_apart(pictures, jobs)
    return jobs


def _walk(source: Path, output: Path) -> list[Path]:
    def stop(error: OSError) -> None:
        raise InputError(f"Cannot read the folder {error.filename}: {error.strerror}.") from error

    made = output.resolve()
    pictures = []
    for folder, subfolders, names in os.walk(source, onerror=stop):
        here = Path(folder)
        subfolders[:] = [name for name in subfolders if name[0] != "." and (here / name).resolve() != made]
        found = (here / name for name in names if name[0] != "." and Path(name).suffix.lower() in SUFFIXES)
        pictures += [picture for picture in found if not is_special(picture)]
    return sorted(pictures)


def _check_apart(pictures: Sequence[Path], jobs: Sequence[Job]) -> None:
    sources = {Path(os.path.realpath(picture)) for picture in pictures}  # a link to itself is no reason to stop
    makers: dict[Path, Path] = {}
    for job in jobs:
        for made in (job.labels, job.overlay, job.probabilities):
            if Path(os.path.realpath(made)) in sources:
                raise InputError(f"output would overwrite the input {made}: choose another folder.")
            other = makers.setdefault(made, job.source)
            if other != job.source:
                raise InputError(f"{other} and {job.source} would both become {made}: rename one of them.")


def check_writable(output: Path) -> None:
    """Make the folder; raises InputError if nothing can be written into it."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise InputError(f"output={output}: cannot be written ({error.strerror}); name another folder.") from error
