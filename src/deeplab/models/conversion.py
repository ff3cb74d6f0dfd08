"""A weight file of any known layout as a file in this project's names, checked against the backbone it is for."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deeplab.models.fully_connected import subsampled
from deeplab.models.mobilenet import MobileNetV2
from deeplab.models.resnet import BLOCKS, ResNet
from deeplab.models.vgg import VGG16
from deeplab.models.weight_file import CONVERTED_KEY, WeightFile
from deeplab.models.weights import COUNTER, covers


@dataclass(frozen=True)
class Conversion:
    """Tensors by the project's names, and what became of the file's; `content` is what torch.save shall write."""

    tensors: Mapping[str, Tensor]
    skipped: tuple[str, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    content: dict[str, Any]


def convert(
    file: WeightFile,
    allow: Collection[str] = (),
    kernel_size: int | None = None,
    hidden_channels: int | None = None,
    seed: int = 0,
) -> Conversion:
    """Rename a file's tensors and subsample its fc6 and fc7, if wanted.

    `allow` names tensors, or the modules above them, that the backbone may lack in the file or have of another shape.
    `kernel_size` and `hidden_channels` are those of the head that shall take fc6 and fc7; None leaves them as they are
    (loading subsamples then, always with the same seed).

    Raises ValueError for a backbone that is no known one or is incomplete, and where there is nothing to subsample.
    """
    where = f"{file.source} ({file.layout.name})"
    names = {key: file.layout.rename(key) for key in file.state}
    tensors = {name: file.state[key] for key, name in names.items() if name is not None}
    missing = _check_backbone(tensors, allow, where)
    notes = list(file.notes)
    if file.layout.note and any(name.startswith("head.") for name in tensors):
        notes.append(file.layout.note)
    if kernel_size is not None or hidden_channels is not None:
        try:
            fc = {name: tensors[f"head.{name}"] for name in ("fc6.weight", "fc6.bias", "fc7.weight", "fc7.bias")}
            smaller = subsampled(fc, kernel_size or 3, hidden_channels or 1024, seed)
        except KeyError as error:
            raise ValueError(
                f"{where}: there is no {error.args[0]} to subsample; leave the head's sizes out."
            ) from error
        except ValueError as error:
            raise ValueError(f"{where}: {error}; choose smaller sizes.") from error
        tensors |= {f"head.{name}": tensor for name, tensor in smaller.items()}
        notes.append(f"fc6 and fc7 are subsampled to {hidden_channels or 1024} filters, seed {seed}")
    content = {
        "state_dict": {name: tensor.contiguous().clone() for name, tensor in tensors.items()},
        CONVERTED_KEY: {
            "layout": file.layout.name,
            "input": None if file.convention is None else asdict(file.convention),
            "stride_in_1x1": file.stride_in_1x1,
            "notes": notes,
        },
    }
    skipped = tuple(key for key, name in names.items() if name is None)
    return Conversion(tensors, skipped, missing, tuple(notes), content)


def _check_backbone(tensors: Mapping[str, Tensor], allow: Collection[str], where: str) -> tuple[str, ...]:
    """Compare with the backbone that the names belong to; returns what is missing or of another shape, and allowed."""
    with torch.device("meta"):
        expected = {f"backbone.{name}": tensor for name, tensor in _backbone(tensors, where).state_dict().items()}
    found = {name for name in tensors if name.startswith("backbone.") and not name.endswith(COUNTER)}
    wrong = sorted(
        name
        for name in (expected.keys() | found)
        if not name.endswith(COUNTER)
        and (name not in expected or name not in found or tensors[name].shape != expected[name].shape)
    )
    refused = [name for name in wrong if not covers(allow, name)]
    if refused:
        first = refused[0]
        given = f"{tuple(tensors[first].shape)}" if first in tensors else "nothing"
        wanted = f"{tuple(expected[first].shape)}" if first in expected else "nothing"
        raise ValueError(
            f"{where}: {len(refused)} tensors do not fit the backbone ({first}: {given} in the file, {wanted} in the "
            "backbone); get the whole file, or allow them by name."
        )
    return tuple(wrong)


def _backbone(tensors: Mapping[str, Tensor], where: str) -> nn.Module:
    if "backbone.conv1_1.weight" in tensors:
        return VGG16()
    if "backbone.features.0.0.weight" in tensors:
        return MobileNetV2(last_conv="backbone.features.18.0.weight" in tensors)
    blocks = Counter(name.split(".")[1] for name in tensors if name.endswith(".conv1.weight") and ".layer" in name)
    counts = tuple(blocks[f"layer{stage}"] for stage in (1, 2, 3, 4))
    has_bottlenecks = "backbone.layer1.0.conv3.weight" in tensors
    for depth, known in BLOCKS.items():
        if known == counts and (depth >= 50) == has_bottlenecks:
            return ResNet(depth)
    raise ValueError(
        f"{where}: no backbone of this project has such tensors (blocks a stage: {counts}); the file is incomplete or "
        "of another network."
    )
