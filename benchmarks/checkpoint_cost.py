"""What a checkpoint of ResNet-101 every 500 steps costs the training loop: it is written aside.

    python benchmarks/checkpoint_cost.py [--steps 8] [--crop 65] [--batch 1] [--every 500] [--gpu-step 0.25]

Ours: what `LastCheckpoint` hands to `WholeFiles`, weights and momentum of ResNet-101 with ASPP-L (multi-scale inputs
share them). Timed in turns, in one process: steps alone, and steps while a file is being written; the snapshot on the
training thread; the file in the background, with fsync, checksums and renames. Printed is what a checkpoint takes of
the loop (snapshot, and what the steps beside the writing lost) as a share of `--every` steps: of the steps measured
here, and of steps of `--gpu-step` seconds, where the writing has the processor to itself (aim: under 1 %).
"""

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from deeplab.models.deeplab import DeepLab
from deeplab.models.heads import DirectASPP
from deeplab.models.image_input import ImageInput
from deeplab.models.resnet import ResNet
from deeplab.training.checkpoint_writing import WholeFiles

K = 21


class Training:
    """A plain loop on one batch."""

    def __init__(self, options: argparse.Namespace) -> None:
        shape = ImageInput("rgb", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        self.network = DeepLab(shape, ResNet(101, output_stride=8), partial(DirectASPP, rates=(6, 12, 18, 24)), K)
        self.network.eval()  # batch normalisation as loaded
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=1e-6, momentum=0.9)
        self.image = 255 * torch.rand(options.batch, 3, options.crop, options.crop)
        side = (options.crop - 1) // 8 + 1
        self.label = torch.randint(0, K, (options.batch, side, side))

    def step(self) -> float:
        start = time.perf_counter()
        self.optimizer.zero_grad()
        F.cross_entropy(self.network(self.image), self.label).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return time.perf_counter() - start

    def checkpoint(self) -> dict[str, Any]:
        return {"state_dict": self.network.state_dict(), "optimizer_states": [self.optimizer.state_dict()]}


def measure(training: Training, options: argparse.Namespace, folder: Path) -> None:
    files = WholeFiles()
    training.step()
    alone: list[float] = []
    beside: list[float] = []
    snapshots: list[float] = []
    processor: list[float] = []
    writings: list[float] = []
    for _ in range(options.steps):
        alone.append(training.step())
        start, used = time.perf_counter(), time.thread_time()
        files.save_checkpoint(training.checkpoint(), folder / "last.ckpt")
        snapshots.append(time.perf_counter() - start)
        processor.append(time.thread_time() - used)
        while files.is_writing:
            beside.append(training.step())
        files.finish()
        writings.append(time.perf_counter() - start - snapshots[-1])
    size = (folder / "last.ckpt").stat().st_size
    report(options, size, alone, beside, snapshots, processor, writings)


def report(options: argparse.Namespace, size: int, *measured: list[float]) -> None:
    alone, beside = measured[:2]
    step, slow, snapshot, used, writing = (statistics.median(each) for each in measured)
    lost = max(0.0, 1 - step / slow) * writing
    print(f"checkpoint            {size / 1e6:9.0f} MB")
    print(f"step alone            {step:9.3f} s (median of {len(alone)})")
    print(f"step beside a writing {slow:9.3f} s (median of {len(beside)})")
    print(f"snapshot              {snapshot:9.3f} s on the training thread, {used:.3f} s of its processor time")
    print(f"writing               {writing:9.3f} s in the background, while steps were taken")
    print(f"cost here             {100 * (snapshot + lost) / (options.every * step):9.3f} % of {options.every} steps")
    for name, seconds in (("by the clock", snapshot), ("by processor time", used)):
        share = 100 * seconds / (options.every * options.gpu_step)
        print(
            f"cost at {options.gpu_step} s a step {share:9.3f} % of {options.every} steps {name} (the snapshot alone)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--crop", type=int, default=65)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--gpu-step", type=float, default=0.25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure(Training(options), options, Path(folder))


if __name__ == "__main__":
    main()
