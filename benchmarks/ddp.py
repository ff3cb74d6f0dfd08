"""Throughput of DDP on two CPU processes against two independent processes on the same cores, and bytes exchanged.

    python benchmarks/ddp.py [--network mobilenetv2|resnet18] [--rounds 4] [--steps 12] [--crop 161] [--batch 4]
    python benchmarks/ddp.py --bytes

Both are SegmentationModule in a Trainer, one thread a process, with hand-made batches, so that nothing but the training
is timed. Independent: each takes steps of `--batch` pictures. DDP: the two take steps of twice as many together. They
take turns, a round each, start-up and the first three steps of a round do not count. Printed is the median over the
rounds of pictures a second, and of their ratio (aim: at least 0.9).

`--bytes` lists what is summed over the processes in a step: 4 bytes for every trained parameter, in float32 also where
the network computes in bfloat16.
"""

import argparse
import json
import logging
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

K = 21
WARM_UP = 3


def make_network(name: str) -> Any:
    from deeplab.models.deeplab import DeepLab
    from deeplab.models.heads import DirectASPP
    from deeplab.models.image_input import ImageInput
    from deeplab.models.mobilenet import MobileNetV2
    from deeplab.models.resnet import ResNet

    backbone = MobileNetV2(output_stride=16) if name == "mobilenetv2" else ResNet(18, output_stride=8)
    shape = ImageInput("rgb", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return DeepLab(shape, backbone, partial(DirectASPP, rates=(2, 4, 8, 12)), K)


class Batches:
    """This process's share of the batches; notes when each is asked for."""

    def __init__(self, options: argparse.Namespace) -> None:
        import torch

        generator = torch.Generator().manual_seed(0)
        side = options.crop
        self.batch = {
            "id": [str(i) for i in range(options.batch)],
            "image": 255 * torch.rand(options.batch, 3, side, side, generator=generator),
            "label": torch.randint(0, K, (options.batch, side, side), generator=generator),
        }
        self.steps = options.steps + WARM_UP + 1
        self.times: list[float] = []

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        for _ in range(self.steps):
            self.times.append(time.time())
            yield self.batch


def work(options: argparse.Namespace) -> None:
    """One process: train, and print when its counted steps began and ended."""
    import pytorch_lightning as pl
    import torch

    from deeplab.inference.probabilities import Inference
    from deeplab.training.module import SegmentationModule
    from deeplab.training.schedule import Poly

    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    ranks = 2 if options.ddp else 1
    batches = Batches(options)
    module = SegmentationModule(
        make_network(options.network),
        Inference(),
        [str(k) for k in range(K)],
        partial(torch.optim.SGD, momentum=0.9),
        Poly(1000),
        1e-3,
        5e-4,
        {"backbone_weight": 1.0, "backbone_bias": 2.0, "head_weight": 10.0, "head_bias": 20.0},
        global_batch_size=options.batch * ranks,
        loss_group=options.batch * ranks,
        batch_size_per_device=options.batch,
        freeze_bn=True,
        gradient_clip=None,
        max_probability_pixels=10**7,
        record={},
    )
    pl.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy="ddp" if options.ddp else "auto",
        max_steps=batches.steps,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=False,
        use_distributed_sampler=False,
    ).fit(module, batches)
    print(json.dumps([batches.times[WARM_UP], batches.times[-1]]), flush=True)


def round_of_two(options: argparse.Namespace, ddp: bool) -> float:
    """Pictures a second of two processes together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(2):
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            if ddp:
                environment |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            command = [sys.executable, __file__, *sys.argv[1:], "--work", *(["--ddp"] if ddp else [])]
            out = (Path(folder) / str(rank)).open("w")
            started.append(subprocess.Popen(command, env=environment, stdout=out, cwd=folder))
        try:
            for process in started:
                if process.wait(timeout=900) != 0:
                    raise SystemExit("a process failed, see above")
        finally:
            for process in started:
                process.kill()
        spans = [json.loads((Path(folder) / str(rank)).read_text().splitlines()[-1]) for rank in range(2)]
    # each at its own pace: what the two do a second while both work
    return sum(options.steps * options.batch / (end - begin) for begin, end in spans)


def compare(options: argparse.Namespace) -> None:
    rounds = [(round_of_two(options, ddp=False), round_of_two(options, ddp=True)) for _ in range(options.rounds)]
    apart, together = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratios = sorted(b / a for a, b in rounds)
    print(f"{options.network}, {options.batch} pictures of {options.crop} a process and step, {options.steps} steps")
    print(f"two independent processes {apart:8.2f} pictures/s (median of {options.rounds} rounds)")
    print(f"DDP on two processes      {together:8.2f} pictures/s")
    spread = f"{ratios[0]:.3f} .. {ratios[-1]:.3f}"
    print(f"ratio                     {statistics.median(ratios):8.3f} (rounds {spread}; aim 0.9)")


def list_bytes() -> None:
    """Trained parameters of the experiments' networks, as Hydra composes them."""
    import torch
    from hydra import compose, initialize_config_dir

    from deeplab.config import schema
    from deeplab.config.build import build_network
    from deeplab.config.explain import conf_dir
    from deeplab.config.preflight import to_plain
    from deeplab.training.batch_norm import freeze_batch_norms

    schema.register()
    networks = {
        "VGG-16 LargeFOV": ["model/backbone=vgg16", "model/head=large_fov"],
        "VGG-16 ASPP-L": ["model/backbone=vgg16", "model/head=aspp_l"],
        "ResNet-101 ASPP-L": ["model/backbone=resnet101", "model/head=aspp_l", "model/multi_scale=msc"],
        "MobileNetV2 ASPP-S": ["model/backbone=mobilenetv2", "model/head=aspp_s"],
    }
    with initialize_config_dir(str(conf_dir()), version_base="1.3"), torch.device("meta"):
        for name, overrides in networks.items():
            model = to_plain(compose("train", overrides=overrides).model)
            network = build_network(model, K)
            freeze_batch_norms(network)
            count = sum(each.numel() for each in network.parameters() if each.requires_grad)
            print(f"{name:20} {count:12,d} parameters {4 * count / 1e6:8.1f} MB a step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("mobilenetv2", "resnet18"), default="mobilenetv2")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--crop", type=int, default=161)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--bytes", action="store_true")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ddp", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bytes:
        list_bytes()
    elif options.work:
        work(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
