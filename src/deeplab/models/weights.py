"""Initial weights: a state dict of ours or of a known layout into a DeepLab network."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deeplab.models.checkpoint_file import read_state_dict
from deeplab.models.deeplab import DeepLab
from deeplab.models.image_input import InputConvention
from deeplab.models.multi_scale import MultiScale
from deeplab.models.resnet import ResNet
from deeplab.models.weight_layouts import Layout, recognise

# Not weights; files from before torch 0.4.1 lack them.
COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class WeightsReport:
    """What became of a weight file's tensors.

    `matched` and `random` (left as initialised) are names in the network, `skipped` names in the file. `convention` is
    the input the weights expect, None where the file does not tell and the configuration has to.
    """

    source: str
    layout: str
    matched: tuple[str, ...]
    skipped: tuple[str, ...]
    random: tuple[str, ...]
    convention: InputConvention | None

    def __str__(self) -> str:
        text = f"{self.source} ({self.layout}): {len(self.matched)} tensors matched"
        if self.skipped:
            text += f", {len(self.skipped)} skipped ({_first(self.skipped)})"
        if self.random:
            text += f", {len(self.random)} left random ({_first(self.random)})"
        return text + "."


def load_weights(path: str | Path, network: DeepLab | MultiScale, allow: Collection[str] = ()) -> WeightsReport:
    """Copy a weight file's tensors into a network, all or (on an error) none.

    The layout is recognised by the tensors' names: our own state dicts and checkpoints fill backbone and head;
    torchvision's VGG-16, ResNet and MobileNetV2 fill the backbone and leave the head as initialised.

    `allow` holds what may differ: names of tensors or of the modules above them ("head", "backbone.layer4"), "input"
    (another input convention than the network's), "stride_in_1x1" (a ResNet with its strides elsewhere).

    Raises ValueError for what is not allowed: tensors that are missing, left over or of another shape, another input
    convention, strides elsewhere; for an entry of `allow` that names nothing; for an unknown layout; and as
    `read_state_dict`.
    """
    return assign_weights(read_state_dict(path), network, allow, source=str(path))


def assign_weights(
    state: Mapping[str, Tensor], network: DeepLab | MultiScale, allow: Collection[str] = (), source: str = "state dict"
) -> WeightsReport:
    """Copy a state dict in memory into a network: `load_weights` after reading; `source` names it in messages."""
    layout = recognise(state, source)
    targets = _tensors(network)
    names = {key: layout.rename(key) for key in state}
    given = {name: state[key] for key, name in names.items() if name is not None}
    _check_allow(allow, [*targets, *given], source)
    _check_input(layout, network, allow, source)

    is_allowed = _Names(allow)
    missing = [name for name in targets if name not in given and name.startswith(tuple(f"{p}." for p in layout.parts))]
    surplus = [name for name in given if name not in targets and not _Names(layout.optional).cover(name)]
    unequal = [name for name in given if name in targets and given[name].shape != targets[name].shape]
    _check_names("lacks", missing, is_allowed, layout, source)
    _check_names("has, and the network lacks,", surplus, is_allowed, layout, source)
    for name in unequal:
        if not is_allowed.cover(name):
            raise ValueError(
                f"{source} ({layout.name}): {name} has shape {tuple(given[name].shape)} in the file and "
                f"{tuple(targets[name].shape)} in the network; load it into the network it was made for or allow "
                f"{name!r} to stay random."
            )

    matched = [name for name in targets if name in given and name not in unequal]
    with torch.no_grad():
        for name in matched:
            targets[name].copy_(given[name])
    filled = set(matched)
    return WeightsReport(
        source=source,
        layout=layout.name,
        matched=tuple(matched),
        skipped=tuple(key for key, name in names.items() if name not in filled),
        random=tuple(name for name in targets if name not in filled and not name.endswith(COUNTER)),
        convention=layout.convention,
    )


class _Names:
    """Tensor names given by themselves or by a module above them."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)

    def cover(self, tensor: str) -> bool:
        return any(tensor == name or tensor.startswith(f"{name}.") for name in self._names)


def _tensors(network: DeepLab | MultiScale) -> dict[str, Tensor]:
    parts = {"backbone": network.backbone, "head": network.head}
    return {f"{part}.{name}": tensor for part, module in parts.items() for name, tensor in module.state_dict().items()}


def _check_allow(allow: Collection[str], names: Collection[str], source: str) -> None:
    for entry in allow:
        if entry not in ("input", "stride_in_1x1") and not any(_Names([entry]).cover(name) for name in names):
            raise ValueError(
                f"{source}: {entry!r}, allowed to differ, names no tensor of the network or the file; give a name such "
                'as "head" or "head.fc8".'
            )


def _check_input(layout: Layout, network: DeepLab | MultiScale, allow: Collection[str], source: str) -> None:
    expected, given = layout.convention, network.input.convention
    if expected is not None and not expected.agrees_with(given) and "input" not in allow:
        raise ValueError(
            f"{source} ({layout.name}): the weights expect {expected}, the network's input gives {given}; change the "
            'network\'s input or allow "input" to differ.'
        )
    backbone = network.backbone
    if not isinstance(backbone, ResNet) or layout.stride_in_1x1 is None or "stride_in_1x1" in allow:
        return
    if backbone.stride_in_1x1 != layout.stride_in_1x1:
        raise ValueError(
            f"{source} ({layout.name}): made for stride_in_1x1={layout.stride_in_1x1}, the network's backbone has "
            f'{backbone.stride_in_1x1}; change the backbone or allow "stride_in_1x1" to differ.'
        )


def _check_names(verb: str, names: Iterable[str], allowed: _Names, layout: Layout, source: str) -> None:
    wrong = [name for name in names if not name.endswith(COUNTER) and not allowed.cover(name)]
    if wrong:
        raise ValueError(
            f"{source} ({layout.name}): the file {verb} {len(wrong)} tensors ({_first(wrong)}); load it into the "
            "network it was made for or allow them by name."
        )


def _first(names: Collection[str]) -> str:
    first = ", ".join(list(names)[:2])
    return first if len(names) <= 2 else f"{first}, ..."
