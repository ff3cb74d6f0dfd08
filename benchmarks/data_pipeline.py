"""Images a second of the training pipeline on one core: decode, augment, collate.

    python benchmarks/data_pipeline.py --root /path/to/VOCdevkit     # PASCAL VOC
    python benchmarks/data_pipeline.py                               # JPEGs of VOC's size, made for the purpose

Prints the best and the median of the passes, by wall clock and by the CPU time of the process; on a machine that does
other work meanwhile, the CPU time is the figure to go by. The goal is 120 images/s.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from deeplab.data.folder import ImageMaskFolder
from deeplab.data.labels import LabelRule
from deeplab.data.loading import TrainingLoader, TrainingPictures
from deeplab.data.palette import voc_palette
from deeplab.data.samples import PictureSet
from deeplab.data.sampling import TrainingSampler
from deeplab.data.scene_drawing import draw_scene
from deeplab.data.transforms import TrainTransform
from deeplab.data.voc import VOC

_MEAN_RGB = (122.675, 116.669, 104.008)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="the VOCdevkit folder; without it JPEGs are generated")
    parser.add_argument("--split", default="train", help="the split of VOC to read")
    parser.add_argument("--crop-size", type=int, default=321)
    parser.add_argument("--batch-size", type=int, default=10)
    parser.add_argument("--passes", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        pictures: PictureSet = VOC(options.root).split(options.split) if options.root else _made(Path(folder), 200)
        passes = _time(pictures, options.crop_size, options.batch_size, options.passes)
    figures: dict[str, object] = {
        "source": options.root or "generated",
        "pictures": len(pictures),
        "crop_size": options.crop_size,
    }
    for clock in ("cpu", "wall"):
        rates = [one[clock] for one in passes]
        figures[f"images_per_second_{clock}"] = {"best": max(rates), "median": statistics.median(rates)}
    print(json.dumps(figures, indent=2))


def _time(pictures: PictureSet, crop_size: int, batch_size: int, passes: int) -> list[dict[str, float]]:
    transform = TrainTransform(crop_size, [0.5, 0.75, 1.0, 1.25, 1.5], mirror=True, pad_rgb=_MEAN_RGB, seed=0)
    sampler = TrainingSampler(len(pictures), batch_size, seed=0)
    loader = TrainingLoader(TrainingPictures(pictures, LabelRule(21), transform), sampler, num_workers=0)
    results = []
    for _ in range(passes + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        count = sum(len(batch["id"]) for batch in loader)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        results.append({"wall": round(count / wall, 1), "cpu": round(count / cpu, 1)})
    return results[1:]  # the first pass fills the file cache


def _made(folder: Path, count: int) -> PictureSet:
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    for index in range(count):
        image, label = draw_scene(0, index, height=375, width=500)
        jpeg = cv2.imencode(".jpg", np.ascontiguousarray(image[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        (folder / "images" / f"{index:04d}.jpg").write_bytes(jpeg.tobytes())
        mask = Image.fromarray(label)
        mask.putpalette(voc_palette().tobytes())
        mask.save(folder / "masks" / f"{index:04d}.png")
    return ImageMaskFolder(folder).split("all")


if __name__ == "__main__":
    main()
