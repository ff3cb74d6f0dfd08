"""Validation with the CRF callback on, against the larger of its two parts, each alone on one core.

    python benchmarks/validation_overlap.py [--pictures 24] [--height 375] [--width 500] [--classes 21]
                                            [--width-factor 1] [--backend auto] [--rounds 3] [--cores 0 1]

The network runs on one torch thread, the CRF in one worker process with one thread. Each round times, one after the
other: the network alone (a validation without the callback) on the first core; the CRF alone, on the probabilities that
the network gave, in a process of its own on the second; both of these at once, which know nothing of each other; and
the validation with the callback, on both cores. Printed are the medians, and of the rounds' ratios: validation to the
larger of the two alone (target: at most 1.15), and to both at once. What the second ratio leaves of the first is the
machine's doing: cores that share memory or are two threads of one. The ratio of processor times (the busier of the two
processes against the larger part alone) is what remains on a machine too busy for the clock to mean anything: the work
that the callback adds, but not the waiting.

--width-factor scales MobileNetV2's channels: overlap is hardest where network and CRF take equally long.
"""

import argparse
import logging
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
import warnings
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from deeplab.crf.dense_crf import DenseCRF
from deeplab.crf.params import CRFParams
from deeplab.data.scenes import Scenes
from deeplab.inference.probabilities import Inference
from deeplab.models.deeplab import DeepLab
from deeplab.models.heads import DirectASPP
from deeplab.models.image_input import ImageInput
from deeplab.models.mobilenet import MobileNetV2
from deeplab.training.crf_evaluation import CRFEvaluation
from deeplab.training.module import SegmentationModule
from deeplab.training.schedule import Poly

PARAMS = CRFParams()
Batch = dict[str, Any]


def pictures(options: argparse.Namespace) -> list[Batch]:
    scenes = Scenes({"val": options.pictures}, options.height, options.width).split("val")
    samples = (scenes[i] for i in range(len(scenes)))
    return [{key: v if key == "id" else torch.from_numpy(v) for key, v in sample.items()} for sample in samples]


def segmentation_module(options: argparse.Namespace) -> SegmentationModule:
    torch.manual_seed(0)
    network = DeepLab(
        ImageInput("rgb", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        MobileNetV2(output_stride=16, width=options.width_factor),
        partial(DirectASPP, rates=(2, 4, 8, 12)),
        options.classes,
    )
    return SegmentationModule(
        network.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        Inference(),
        [str(k) for k in range(options.classes)],
        torch.optim.SGD,
        Poly(1),
        1e-3,
        0.0,
        {},
        global_batch_size=1,
        loss_group=1,
        batch_size_per_device=1,
        freeze_bn=True,
        gradient_clip=None,
        max_probability_pixels=10**7,
        record={},
    )


Cost = tuple[float, float]
"""Seconds by the clock, and of processor time."""


class Duration(pl.Callback):
    """From the first hook of a validation to the last; stands first among the callbacks."""

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.start = time.perf_counter(), time.process_time()

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.cost = time.perf_counter() - self.start[0], time.process_time() - self.start[1]


def validation(module: SegmentationModule, data: list[Batch], crf: CRFEvaluation | None, cores: set[int]) -> Cost:
    """What a validation takes; the processor time is that of this process or of the CRF's, whichever is larger."""
    os.sched_setaffinity(0, cores)
    duration = Duration()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        callbacks=[duration, *([crf] if crf else [])],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader: Any = DataLoader(data, batch_size=None, collate_fn=lambda one: one)  # type: ignore[arg-type]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    trainer.validate(module, loader, verbose=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    children = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return duration.cost[0], max(duration.cost[1], children)


def crf_alone(connection: Connection, folder: str, count: int, backend: str, core: int) -> None:
    """A process that refines all pictures once for each message, and answers with the seconds it took."""
    os.sched_setaffinity(0, {core})
    crf = DenseCRF(PARAMS, backend, num_threads=1)
    inputs = [np.load(Path(folder) / f"{i}.npz") for i in range(count)]
    loaded = [(each["probs"], each["image"]) for each in inputs]
    connection.send((0.0, 0.0))
    while connection.recv():
        start = time.perf_counter(), time.process_time()
        for probs, image in loaded:
            crf(probs, image).argmax(axis=0)
        connection.send((time.perf_counter() - start[0], time.process_time() - start[1]))


def rounds(options: argparse.Namespace, folder: str) -> list[dict[str, Cost]]:
    module, data = segmentation_module(options), pictures(options)
    for i, picture in enumerate(data):
        probs = module.inference.probabilities(module.network.eval(), picture["image"]).numpy()
        np.savez(Path(folder) / f"{i}.npz", probs=probs, image=picture["image"].numpy())
    first, second = options.cores
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=crf_alone, args=(theirs, folder, len(data), options.backend, second))
    process.start()
    theirs.close()  # so that the process's death is an error here, and not silence
    ours.recv()
    results = []
    for _ in range(options.rounds):
        figures = {"network alone": validation(module, data, None, {first})}
        ours.send(True)
        figures["CRF alone"] = ours.recv()
        ours.send(True)
        network = validation(module, data, None, {first})
        figures["both at once"] = max(network, ours.recv())
        names = module.class_names
        crf = CRFEvaluation(PARAMS, options.backend, names, workers=1)
        figures["validation with the callback"] = validation(module, data, crf, {first, second})
        results.append(figures)
    ours.send(False)
    process.join()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--height", type=int, default=375)
    parser.add_argument("--width", type=int, default=500)
    parser.add_argument("--classes", type=int, default=21)
    parser.add_argument("--width-factor", type=float, default=1.0)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, nargs=2, default=(0, 1))
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        results = rounds(options, folder)
    size = f"{options.pictures} pictures of {options.width}x{options.height}, {options.classes} classes"
    print(f"{size}, CRF backend {options.backend}, {options.rounds} rounds")
    for name in results[0]:
        wall, used = (statistics.median(each[name][i] for each in results) for i in (0, 1))
        print(f"{name:30} {wall:8.2f} s, {used:.2f} s of processor time")
    whole = "validation with the callback"
    alone = ("network alone", "CRF alone")
    for text, parts, i in (
        ("larger of the two alone", alone, 0),
        ("both at once", ("both at once",), 0),
        ("the larger in processor time", alone, 1),
    ):
        ratios = [each[whole][i] / max(each[part][i] for part in parts) for each in results]
        print(f"ratio to {text:28} {statistics.median(ratios):6.3f}  ({min(ratios):.3f} .. {max(ratios):.3f})")


if __name__ == "__main__":
    main()
