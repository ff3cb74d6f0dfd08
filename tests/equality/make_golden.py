#!/usr/bin/env python3
"""Record what kazuto1011/deeplab-pytorch computes from weights, pictures and labels that `material.py` makes.

    python tests/equality/make_golden.py CHECKOUT [small] [resnet101]

CHECKOUT is a folder with that repository's files (commit 4219467fa5de07985f834f1bd8c04c186dc8f6d8); its network, label
resizing, parameter groups and schedule are run, none of it is copied. Writes golden/small.npz (one block a stage)
and golden/resnet101.npz, each with logits and the losses of twenty steps; those of ResNet-101 take three minutes on one
core. Packages of the repository that play no part in this are replaced by dummies.
"""

import argparse
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import torch
from material import BATCH, BLOCKS, CLASSES, RATE, STEPS, batches, kazuto_state, picture
from torch import nn
from torch.nn import functional as F

GOLDEN = Path(__file__).parent / "golden"


def imported(checkout: Path):
    """The repository's models, and what its main.py has besides commands."""
    sys.path.insert(0, str(checkout))
    for name in ("click", "joblib", "torchnet", "torchnet.meter", "addict", "tensorboard", "torch.utils.tensorboard"):
        sys.modules[name] = MagicMock()
    for name in ("libs.datasets", "libs.utils", "libs.utils.crf", "libs.utils.metric"):
        sys.modules[name] = MagicMock()
    import libs.models as models

    spec = importlib.util.spec_from_file_location("libs.utils.lr_scheduler", checkout / "libs/utils/lr_scheduler.py")
    schedule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(schedule)
    source = importlib.util.spec_from_file_location("kazuto_main", checkout / "main.py")
    main = importlib.util.module_from_spec(source)
    source.loader.exec_module(main)
    # Its LongTensor(list of float arrays) is refused by torch of today.
    main.torch = SimpleNamespace(LongTensor=lambda arrays: torch.from_numpy(np.stack(arrays)).long())
    return models, schedule, main


def network(models, blocks):
    result = models.MSC(models.DeepLabV2(CLASSES, list(blocks), [6, 12, 18, 24]), scales=[0.5, 0.75])
    state = {name: torch.from_numpy(array) for name, array in kazuto_state(blocks).items()}
    result.load_state_dict(state, strict=False)
    missing = [name for name in result.state_dict() if name not in state and "num_batches" not in name]
    assert not missing, missing
    return result


def bgr(pictures: np.ndarray) -> torch.Tensor:
    mean = np.array([104.008, 116.669, 122.675], np.float32)
    return torch.from_numpy((pictures[..., ::-1].astype(np.float32) - mean).transpose(0, 3, 1, 2).copy())


def authors_way(function):
    """F.interpolate with corners on corners and the sizes that belong to it."""

    def interpolate(x, size=None, scale_factor=None, mode=None, align_corners=None):
        if size is None:
            size = [round((side - 1) * scale_factor) + 1 for side in x.shape[-2:]]
        return function(x, size=size, mode=mode, align_corners=True)

    return interpolate


def losses(models, schedule, main, blocks, count):
    """The training loop of main.py around its parts: four losses a batch, two batches a step, 20 steps."""
    net = nn.Sequential()
    net.module = network(models, blocks)
    net.module.train()
    net.module.base.freeze_bn()
    groups = [("1x", 1, 5e-4), ("10x", 10, 5e-4), ("20x", 20, 0.0)]
    optimizer = torch.optim.SGD(
        [
            {"params": list(main.get_params(net.module, key=key)), "lr": factor * RATE, "weight_decay": decay}
            for key, factor, decay in groups
        ],
        momentum=0.9,
    )
    scheduler = schedule.PolynomialLR(optimizer, step_size=10, iter_max=STEPS, power=0.9)
    criterion = nn.CrossEntropyLoss(ignore_index=255)
    recorded = []
    for step, (pictures, labels) in enumerate(batches(count), start=1):
        optimizer.zero_grad()
        total = 0.0
        for part in (slice(0, count // 2), slice(count // 2, count)):
            each = 0
            for logits in net.module(bgr(pictures[part])):
                shrunk = main.resize_labels(torch.from_numpy(labels[part]), size=tuple(logits.shape[-2:]))
                each = each + criterion(logits, shrunk)
            each = each / 2
            each.backward()
            total += float(each)
        optimizer.step()
        scheduler.step(epoch=step)
        recorded.append(total)
    return recorded


def record(path: Path, parts, blocks) -> None:
    models = parts[0]
    image = bgr(picture()[None])
    with torch.no_grad():
        net = network(models, blocks).eval()
        kazuto = net(image)[0]
        before = models.msc.F.interpolate
        models.msc.F.interpolate = authors_way(F.interpolate)
        authors = network(models, blocks).eval()(image)[0]
        models.msc.F.interpolate = before
    logits = {"kazuto": kazuto.numpy(), "authors": authors.numpy()}
    np.savez_compressed(path, **logits, losses=np.array(losses(*parts, blocks, BATCH[path.stem])))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("checkout", type=Path)
    arguments.add_argument("networks", nargs="*", help=f"of {', '.join(BLOCKS)}; all if none is named")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    parts = imported(given.checkout)
    GOLDEN.mkdir(exist_ok=True)
    for name in given.networks or BLOCKS:
        record(GOLDEN / f"{name}.npz", parts, BLOCKS[name])


if __name__ == "__main__":
    main()
