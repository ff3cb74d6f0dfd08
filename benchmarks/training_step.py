"""Seconds a training step of ours takes, against the same network, data and optimizer in a bare PyTorch loop.

    python benchmarks/training_step.py [--network mobilenetv2|resnet18|vgg16_large_fov|vgg16_aspp_l|tiny] [--steps 30]
                                       [--crop 161] [--batch 8] [--threads 1] [--core N] [--device cpu|cuda]
                                       [--precision 32-true|bf16-mixed] [--peak-tflops 989] [--block 10]
                                       [--cudnn-benchmark]

Ours: SegmentationModule in a Trainer, with what a run has on (metrics.csv, throughput, progress lines, checkpoints at
the end). Bare: forward, cross-entropy, backward, optimizer, schedule. The two take turns, --block steps at a time, in
one process: before the Trainer gets its next batches, the bare loop takes its steps on the same ones. Printed are the
medians of both, of the ratios of neighbouring blocks (target: at most 1.05) with their quartiles, and the ratio of the
processor time, which other jobs on the machine disturb less than the clock. The first --warm-up steps do not count.

A block is one step on the CPU. On a GPU it is ten (ours logs in each tenth), and the device is waited for at the end of
a block alone, for the work of a step is queued while the one before is computed; neither loop is allowed to be slower
by waiting more often. `--cudnn-benchmark` has cuDNN try its algorithms first, for both.

`--network tiny` shows what the Trainer adds to a step in itself, for its network takes next to no time.
`--core N` pins the process to one core. Arithmetic is counted as three forward passes of two operations a multiply-add
of the convolutions; with `--peak-tflops`, what the device can do at this precision, its share of that is printed too.
"""

import argparse
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F

from deeplab.inference.probabilities import Inference
from deeplab.models.complexity import layer_costs
from deeplab.models.deeplab import DeepLab
from deeplab.models.heads import ASPP, Classifier, DirectASPP, LargeFOV
from deeplab.models.image_input import ImageInput
from deeplab.models.mobilenet import MobileNetV2
from deeplab.models.resnet import ResNet
from deeplab.models.vgg import VGG16
from deeplab.training.checkpoints import checkpoint_callbacks
from deeplab.training.module import SegmentationModule
from deeplab.training.no_profiler import NoProfiler
from deeplab.training.parameter_groups import parameter_groups
from deeplab.training.progress import ProgressLines
from deeplab.training.run_metrics import RunMetrics
from deeplab.training.schedule import Poly
from deeplab.training.seeding import RankSeed
from deeplab.training.throughput import Throughput

K, LR, DECAY = 21, 1e-3, 5e-4
MULTIPLIERS = {"backbone_weight": 1.0, "backbone_bias": 2.0, "head_weight": 10.0, "head_bias": 20.0}
SGD = partial(torch.optim.SGD, momentum=0.9)
Batch = dict[str, Any]


class Tiny(nn.Conv2d):
    """One convolution: all that remains is the loop."""

    def __init__(self) -> None:
        super().__init__(3, 4, 1, stride=8)
        self.output_stride = 8


SMALL_ASPP = partial(DirectASPP, rates=(2, 4, 8, 12))
NETWORKS: dict[str, tuple[Callable[[], Any], Callable[..., nn.Module]]] = {
    "mobilenetv2": (partial(MobileNetV2, output_stride=16), SMALL_ASPP),
    "resnet18": (partial(ResNet, 18, output_stride=8), SMALL_ASPP),
    "vgg16_large_fov": (VGG16, LargeFOV),
    "vgg16_aspp_l": (VGG16, ASPP),
    "tiny": (Tiny, Classifier),
}


def build(name: str) -> DeepLab:
    backbone, head = NETWORKS[name]
    return DeepLab(ImageInput("rgb", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), backbone(), head, K)


def bare_loop(network: DeepLab, options: argparse.Namespace) -> Callable[[Batch], None]:
    """The loop that anyone would write."""
    groups = parameter_groups(network, network.head, LR, DECAY, MULTIPLIERS)
    optimizer = SGD(groups, lr=LR)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, Poly(options.steps))
    stride = network.output_stride
    mixed = torch.autocast(options.device, torch.bfloat16) if options.precision == "bf16-mixed" else nullcontext()

    def step(batch: Batch) -> None:
        image = batch["image"].to(options.device, non_blocking=True)
        label = batch["label"].to(options.device, non_blocking=True)
        optimizer.zero_grad()
        with mixed:
            logits = network(image)
        loss = F.cross_entropy(logits.float(), label[:, ::stride, ::stride], ignore_index=255)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()

    return step


class InTurns:
    """Batches for the Trainer; takes bare steps before it hands out a block of them, and times both."""

    def __init__(self, bare: Callable[[Batch], None], options: argparse.Namespace) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (options.batch, options.crop, options.crop)
        self.batches = [
            {
                "id": [str(i) for i in range(options.batch)],
                "image": 255 * torch.rand(options.batch, 3, options.crop, options.crop, generator=generator),
                "label": torch.randint(0, K, shape, generator=generator),
            }
            for _ in range(4)
        ]
        self.bare, self.steps, self.cuda = bare, options.steps, options.device == "cuda"
        self.block = options.block or (10 if self.cuda else 1)
        if self.cuda:
            self.batches = [
                {k: v.pin_memory() if torch.is_tensor(v) else v for k, v in b.items()} for b in self.batches
            ]
        self.wall: list[tuple[float, float]] = []
        self.processor: list[tuple[float, float]] = []

    def __len__(self) -> int:
        return int(self.steps)

    def __iter__(self) -> Iterator[Batch]:
        for first in range(0, self.steps, self.block):
            batches = [self.batches[number % len(self.batches)] for number in range(first, first + self.block)]
            start = self._now()
            for batch in batches:
                self.bare(batch)
            middle = self._now()
            yield from batches
            end = self._now()
            self.wall.append(((middle[0] - start[0]) / self.block, (end[0] - middle[0]) / self.block))
            self.processor.append(((middle[1] - start[1]) / self.block, (end[1] - middle[1]) / self.block))

    def _now(self) -> tuple[float, float]:
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()


def ours(network: DeepLab, loader: InTurns, options: argparse.Namespace, folder: Path) -> None:
    module = SegmentationModule(
        network,
        Inference(),
        [str(k) for k in range(K)],
        SGD,
        Poly(options.steps),
        LR,
        DECAY,
        MULTIPLIERS,
        global_batch_size=options.batch,
        loss_group=options.batch,
        batch_size_per_device=options.batch,
        freeze_bn=False,
        gradient_clip=None,
        max_probability_pixels=10**7,
        record={},
    )
    callbacks: list[pl.Callback] = [
        RankSeed(0),
        Throughput(options.batch),
        *checkpoint_callbacks(folder, None),
        ProgressLines(10),
    ]
    trainer = pl.Trainer(
        accelerator="gpu" if options.device == "cuda" else "cpu",
        devices=1,
        precision=options.precision,
        max_steps=options.steps,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        log_every_n_steps=options.log_every,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
        logger=[RunMetrics(folder)],
        default_root_dir=str(folder),
        profiler=NoProfiler(),
    )
    trainer.fit(module, loader)


def report(loader: InTurns, warm_up: int) -> float:
    """Print both loops' times; return ours, in seconds a step."""
    wall, processor = (each[-(-warm_up // loader.block) :] for each in (loader.wall, loader.processor))
    bare, trainer = (statistics.median(column) for column in zip(*wall, strict=True))
    low, ratio, high = statistics.quantiles([b / a for a, b in wall], n=4)
    used = statistics.median(b / a for a, b in processor)
    added = [1000 * statistics.median(b - a for a, b in clock) for clock in (wall, processor)]
    print(f"bare PyTorch loop   {1000 * bare:9.2f} ms a step (median of {len(wall)} blocks of {loader.block})")
    print(f"ours in a Trainer   {1000 * trainer:9.2f} ms a step")
    print(f"ratio               {ratio:9.3f}    (quartiles {low:.3f} .. {high:.3f}; target 1.05)")
    print(f"processor time      {used:9.3f}    (ratio)")
    print(f"added a step        {added[0]:9.2f} ms, {added[1]:.2f} ms of processor time")
    return float(trainer)


def report_arithmetic(network: nn.Module, options: argparse.Namespace, seconds: float) -> None:
    multiply_adds = sum(layer.multiply_adds for layer in layer_costs(network, options.crop, options.crop))
    tera = 3 * 2 * multiply_adds * options.batch / seconds / 1e12
    share = f", {tera / options.peak_tflops:.1%} of {options.peak_tflops:g}" if options.peak_tflops else ""
    print(f"pictures            {options.batch / seconds:9.1f} a second")
    print(f"arithmetic          {tera:9.2f} TFLOP/s{share}")
    if options.device == "cuda":
        print(f"peak memory         {torch.cuda.max_memory_allocated() / 2**30:9.2f} GiB (both networks)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=tuple(NETWORKS), default="mobilenetv2")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warm-up", type=int, default=5)
    parser.add_argument("--crop", type=int, default=161)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--core", type=int)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    parser.add_argument("--log-every", type=int, default=10)
    parser.add_argument("--peak-tflops", type=float)
    parser.add_argument("--block", type=int, help="steps in a turn; --steps has to be a multiple of it")
    parser.add_argument("--cudnn-benchmark", action="store_true")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = options.cudnn_benchmark
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    network = build(options.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loader = InTurns(bare_loop(deepcopy(network).to(options.device), options), options)
    with tempfile.TemporaryDirectory() as folder:
        ours(network, loader, options, Path(folder))
    print(f"{options.network}, {options.batch} pictures of {options.crop}, {options.precision}, {options.device}")
    report_arithmetic(network, options, report(loader, options.warm_up))


if __name__ == "__main__":
    main()
