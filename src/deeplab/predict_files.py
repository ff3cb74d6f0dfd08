"""From picture files to prediction files: a photo or a tree of them, one after the other.

Beside the entry points because it joins inference, the CRF and the writing of files; it knows no configuration.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.markup import escape

from deeplab.crf.dense_crf import DenseCRF
from deeplab.crf.unary import as_scores
from deeplab.errors import InputError
from deeplab.inference.network import SegmentationNetwork
from deeplab.inference.probabilities import Inference
from deeplab.reporting.overlays import overlay
from deeplab.reporting.palette import Palette
from deeplab.reporting.picture_jobs import Outcome, Picture, Reader, check_writable, plan, say
from deeplab.reporting.predictions import write_labels
from deeplab.reporting.progress import progress_bar
from deeplab.reporting.writing import replacing

LARGEST_JPEG = 65500  # libjpeg's limit for a side

# Class probabilities (K, H, W) and the picture to marginals: tensors where the network is on a GPU, arrays elsewhere.
Refine = Callable[[Any, Picture], Any]


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
                save = job.probabilities if save_probabilities else None
                labels = predict_labels(network, inference, refined, image, save)
                write_labels(job.labels, labels, palette)
                _write_overlay(job.overlay, image, labels, class_names, palette)
                outcome.written += 1
            progress.advance(task)
    return outcome


def refine_by(crf: DenseCRF) -> Refine:
    """Return a CRF as `predict` takes it: it gets the kind of scores that its parameters ask for."""
    return lambda probabilities, image: crf(as_scores(probabilities, crf.params.unary), image)


def predict_labels(
    network: SegmentationNetwork, inference: Inference, crf: Refine | None, image: Picture, save: Path | None = None
) -> npt.NDArray[np.integer]:
    """Return the class of each pixel, (H, W), of a picture, uint8 (H, W, 3); write its probabilities to `save`."""
    if crf is None and save is None:
        labels: npt.NDArray[np.integer] = inference.labels(network, image).cpu().numpy()
        return labels
    probabilities: Any = inference.probabilities(network, image)
    if not probabilities.is_cuda:
        probabilities = probabilities.numpy()
    if save is not None:
        with replacing(save) as file:  # not compressed: that takes 25 times as long and saves a tenth
            np.savez(file, allow_pickle=False, probabilities=_array(probabilities).astype(np.float16))
    if crf is not None:
        probabilities = crf(probabilities, image)
    best: npt.NDArray[np.integer] = _array(probabilities.argmax(0))
    return best.astype(np.uint8 if len(probabilities) <= 256 else np.int16)


def _array(values: Any) -> npt.NDArray[Any]:
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()


def _write_overlay(
    path: Path, image: Picture, labels: npt.NDArray[np.integer], class_names: Sequence[str], palette: Palette
) -> None:
    picture = overlay(image, labels, class_names, palette)
    if max(picture.size) > LARGEST_JPEG:
        picture.thumbnail((LARGEST_JPEG, LARGEST_JPEG))
    with replacing(path) as file:
        picture.save(file, format="JPEG", quality=92)
