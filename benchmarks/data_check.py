"""Masks a second of `data check` and `data prepare` on all cores, or on --workers.

    python benchmarks/data_check.py --root /path/to/VOCdevkit     # check: PASCAL VOC
    python benchmarks/data_check.py                               # check: pictures of VOC's size, made for the purpose

`check` decodes every picture and its mask completely; `prepare` turns annotations of SBD (.mat with the class
boundaries that the real ones have, made for the purpose) into palette PNGs. The start of the processes counts too.
Prints the best and the median of the passes, by the clock; with --workers 1, where this process does all the work, also
by its processor time, which is the figure to go by on a machine that does other work meanwhile. The goal is 300 masks/s
on two cores.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from scipy.io import savemat
from scipy.sparse import csc_matrix

from deeplab.data.folder import ImageMaskFolder
from deeplab.data.labels import LabelRule
from deeplab.data.palette import voc_palette
from deeplab.data.samples import FileLayout
from deeplab.data.scene_drawing import draw_scene
from deeplab.data.voc import VOC
from deeplab.inspection.inspect import inspect
from deeplab.preparation.masks import MaskJob, MaskWriter
from deeplab.preparation.voc import labels
from deeplab.reporting.parallel import available_cores

_HEIGHT, _WIDTH, _CLASSES = 375, 500, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="the VOCdevkit folder; without it pictures are generated")
    parser.add_argument("--split", default="train_aug", help="the split of VOC to check")
    parser.add_argument("--count", type=int, default=600, help="pictures and annotations to generate")
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--passes", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        layout: FileLayout = VOC(options.root) if options.root else _pictures(folder, options.count)
        split = options.split if options.root else "all"
        annotations = _annotations(folder / "cls", options.count)
        figures: dict[str, object] = {"workers": options.workers, "source": options.root or "generated"}
        figures["check"] = _rates(lambda: _check(layout, split, options.workers), options.passes, options.workers)
        figures["prepare"] = _rates(
            lambda: _prepare(folder / "made", annotations, options.workers), options.passes, options.workers
        )
    print(json.dumps(figures, indent=2))


def _rates(work: Callable[[], int], passes: int, workers: int) -> dict[str, dict[str, float]]:
    clocks = {"wall": time.perf_counter, **({"cpu": time.process_time} if workers == 1 else {})}
    rates: dict[str, list[float]] = {name: [] for name in clocks}
    for _ in range(passes):
        start = {name: clock() for name, clock in clocks.items()}
        count = work()
        for name, clock in clocks.items():
            rates[name].append(round(count / (clock() - start[name]), 1))
    return {name: {"best": max(each), "median": round(statistics.median(each), 1)} for name, each in rates.items()}


def _check(layout: FileLayout, split: str, workers: int) -> int:
    report = inspect(layout, LabelRule(21), [split], "", train_split=split, workers=workers, console=_quiet())
    assert not report.problems
    return report.splits[0].masks_read


def _prepare(target: Path, annotations: list[Path], workers: int) -> int:
    shutil.rmtree(target, ignore_errors=True)
    jobs = [MaskJob(target / f"{path.stem}.png", path) for path in annotations]
    MaskWriter(voc_palette(), workers=workers, console=_quiet()).write(labels, jobs, "masks")
    return len(jobs)


def _quiet() -> Console:
    return Console(file=StringIO())


def _pictures(folder: Path, count: int) -> FileLayout:
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    for index in range(count):
        image, label = draw_scene(0, index, height=_HEIGHT, width=_WIDTH)
        jpeg = cv2.imencode(".jpg", np.ascontiguousarray(image[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        (folder / "images" / f"{index:04d}.jpg").write_bytes(jpeg.tobytes())
        mask = Image.fromarray(label)
        mask.putpalette(voc_palette().tobytes())
        mask.save(folder / "masks" / f"{index:04d}.png")
    return ImageMaskFolder(folder)


def _annotations(folder: Path, count: int) -> list[Path]:
    """Files as SBD's: the labels, a sparse matrix of boundaries for each class, the classes present."""
    folder.mkdir()
    for index in range(count):
        _, label = draw_scene(1, index, height=_HEIGHT, width=_WIDTH)
        edges = np.zeros(label.shape, dtype=bool)
        edges[:, 1:] |= label[:, 1:] != label[:, :-1]
        boundaries = np.empty((_CLASSES, 1), dtype=object)
        for each in range(_CLASSES):
            boundaries[each, 0] = csc_matrix(edges & (label == each + 1))
        present = np.unique(label[label > 0]).astype(np.float64)[:, None]
        content = {"Boundaries": boundaries, "Segmentation": label, "CategoriesPresent": present}
        savemat(folder / f"{index:04d}.mat", {"GTcls": content}, do_compression=True)
    return sorted(folder.glob("*.mat"))


if __name__ == "__main__":
    main()
