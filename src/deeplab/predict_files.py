"""From picture files to prediction files: a photo or a tree of them, one after the other.

Beside the entry points because it joins inference, the CRF and the writing of files; it knows no configuration.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from deeplab.errors import InputError
from deeplab.inference.network import SegmentationNetwork
from deeplab.inference.probabilities import Inference
from deeplab.reporting.overlays import overlay
from deeplab.reporting.palette import Palette
from deeplab.reporting.predictions import write_labels
from deeplab.reporting.progress import progress_bar
from deeplab.reporting.writing import replacing

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2")
LARGEST_JPEG = 65500  # libjpeg's limit for a side

Picture = npt.NDArray[np.uint8]
Reader = Callable[[Path], Picture]
Refine = Callable[[npt.NDArray[np.float32], Picture], npt.NDArray[np.float32]]


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
    """The reason for each picture that could not be read."""
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
        return text + (f"; {_pictures(len(self.skipped))} could not be read and went without." if self.skipped else ".")


def _pictures(number: int) -> str:
    return f"{number} picture" if number == 1 else f"{number} pictures"


def predict(
    network: SegmentationNetwork,
    inference: Inference,
    crf: Refine | None,
    source: Path,
    output: Path,
    class_names: Sequence[str],
    palette: Palette,
    *,
    read_picture: Reader,
    save_probabilities: bool = False,
    max_crf_pixels: int | None = None,
    console: Console | None = None,
) -> Outcome:
    """Predict a photo, or all photos of a folder and its subfolders, into the same relative places under `output`.

    For `a/b.jpg`: `a/b.png` (palette PNG of classes), `a/b_overlay.jpg` (colours over the photo, with legend), and if
    wanted `a/b_probabilities.npz`: `probabilities`, float16 (K, H, W), the network's, so that the CRF can be run on
    them again. Inputs that differ only in their ending keep it: `b.jpg.png`, `b.png.png`.

    Args:
        crf: None for none. Refined are pictures of at most `max_crf_pixels` pixels (None: all); the others are
            reported and stay as the network left them.
        read_picture: RGB uint8 (H, W, 3), or InputError; such a picture is reported, and the work goes on.

    Raises:
        InputError: nothing to read, or no place to write, before any work; or the place fills up on the way.
    """
    jobs = plan(source, output)
    check_writable(output)
    outcome = Outcome(output)
    with progress_bar(console or Console(stderr=True)) as progress:
        task = progress.add_task("predict", total=len(jobs), name="")
        for job in jobs:
            progress.update(task, name=escape(job.source.name))
            try:
                image = read_picture(job.source)
            except InputError as error:
                outcome.skipped.append(str(error))
                say(progress, "Skipped", str(error))
            else:
                refined = crf
                if crf is not None and max_crf_pixels is not None and image.shape[0] * image.shape[1] > max_crf_pixels:
                    refined = None
                    outcome.unrefined.append(job.source)
                    size = f"{image.shape[1]} x {image.shape[0]}"
                    say(progress, "No CRF", f"{job.source}: {size} is more than crf.max_pixels={max_crf_pixels}.")
                labels = _labels(network, inference, refined, image, job.probabilities if save_probabilities else None)
                write_labels(job.labels, labels, palette)
                _write_overlay(job.overlay, image, labels, class_names, palette)
                outcome.written += 1
            progress.advance(task)
    return outcome


def say(progress: Progress, what: str, text: str) -> None:
    """Print a line above the progress bar."""
    progress.console.print(f"[yellow]{what}:[/] {escape(text)}", soft_wrap=True, highlight=False)


def plan(source: Path, output: Path, key: str = "input") -> list[Job]:
    """List the pictures and the files to be made of them, sorted; hidden files and a folder `output` are passed over.

    Raises InputError if there is no picture, `output` is the input's own folder, or two pictures would become one
    file. `key` is what the messages call the source.
    """
    if not source.exists():
        raise InputError(f"{key}={source}: there is no such file or folder.")
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
        pictures += [here / name for name in names if name[0] != "." and Path(name).suffix.lower() in SUFFIXES]
    return sorted(pictures)


def _check_apart(pictures: Sequence[Path], jobs: Sequence[Job]) -> None:
    sources = {picture.resolve() for picture in pictures}
    makers: dict[Path, Path] = {}
    for job in jobs:
        for made in (job.labels, job.overlay, job.probabilities):
            if made.resolve() in sources:
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


def _labels(
    network: SegmentationNetwork, inference: Inference, crf: Refine | None, image: Picture, save: Path | None
) -> npt.NDArray[np.integer]:
    if crf is None and save is None:
        labels: npt.NDArray[np.integer] = inference.labels(network, image).cpu().numpy()
        return labels
    probabilities = inference.probabilities(network, image).cpu().numpy()
    if save is not None:
        with replacing(save) as file:  # not compressed: that takes 25 times as long and saves a tenth
            np.savez(file, allow_pickle=False, probabilities=probabilities.astype(np.float16))
    if crf is not None:
        probabilities = crf(probabilities, image)
    best: npt.NDArray[np.integer] = probabilities.argmax(axis=0)
    return best.astype(np.uint8 if len(probabilities) <= 256 else np.int16)


def _write_overlay(
    path: Path, image: Picture, labels: npt.NDArray[np.integer], class_names: Sequence[str], palette: Palette
) -> None:
    picture = overlay(image, labels, class_names, palette)
    if max(picture.size) > LARGEST_JPEG:
        picture.thumbnail((LARGEST_JPEG, LARGEST_JPEG))
    with replacing(path) as file:
        picture.save(file, format="JPEG", quality=92)
