"""Initial weights: a state dict of ours or of a known layout into a DeepLab network."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deeplab.models.deeplab import DeepLab
from deeplab.models.fully_connected import fit_fully_connected
from deeplab.models.image_input import InputConvention
from deeplab.models.multi_scale import MultiScale
from deeplab.models.resnet import ResNet
from deeplab.models.weight_file import WeightFile, read_weight_file, weight_file

# Not weights; files from before torch 0.4.1 lack them.
COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class WeightsReport:
    """What became of a weight file's tensors.

    `matched` and `random` (left as initialised) are names in the network, `skipped` names in the file. `convention` is
    the input the weights expect, None where the file does not tell and the configuration has to. `notes` are sentences
    on what was done beside copying, and on what to know about the file.
    """

    source: str
    layout: str
    matched: tuple[str, ...]
    skipped: tuple[str, ...]
    random: tuple[str, ...]
    convention: InputConvention | None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.source} ({self.layout}): {len(self.matched)} tensors matched"
        if self.skipped:
            text += f", {len(self.skipped)} skipped ({_first(self.skipped)})"
        if self.random:
            text += f", {len(self.random)} left random ({_first(self.random)})"
        return text + "."


def load_weights(path: str | Path, network: DeepLab | MultiScale, allow: Collection[str] = ()) -> WeightsReport:
    """Copy a weight file's tensors into a network, all or (on an error) none.

    The file is one of torch.save or a caffemodel; its layout is recognised by the tensors' names. Our own state dicts
    and checkpoints fill backbone and head, other files the backbone and, if they hold one, the head. fc6 and fc7 of a
    full VGG-16 are subsampled to the head's (`deeplab.models.fully_connected`).

    `allow` holds what may differ: names of tensors or of the modules above them ("head", "backbone.layer4"), "input"
    (another input convention than the network's), "stride_in_1x1" (a ResNet with its strides elsewhere).

    Raises ValueError for what is not allowed: tensors that are missing, left over or of another shape, another input
    convention, strides elsewhere; for an entry of `allow` that names nothing; for an unknown layout; and as
    `read_weight_file`.
    """
    return fill(read_weight_file(path), network, allow)


def assign_weights(
    state: Mapping[str, Tensor], network: DeepLab | MultiScale, allow: Collection[str] = (), source: str = "state dict"
) -> WeightsReport:
    """Copy a state dict in memory into a network: `load_weights` after reading; `source` names it in messages."""
    return fill(weight_file(state, source), network, allow)


def fill(file: WeightFile, network: DeepLab | MultiScale, allow: Collection[str] = ()) -> WeightsReport:
    """Copy what `read_weight_file` returned into a network: `load_weights` after reading."""
    layout, source = file.layout, file.source
    targets = _tensors(network)
    names = {key: layout.rename(key) for key in file.state}
    given = {name: file.state[key] for key, name in names.items() if name is not None}
    _check_allow(allow, [*targets, *given], source)
    _check_input(file, network, allow)
    done = None
    if layout.optional:
        given, done = fit_fully_connected(given, targets, source)

    # A classifier in the file is meant to be used: then the rest of the head has to be there too.
    has_head = any(name.startswith("head.") and ".fc6." not in name and ".fc7." not in name for name in given)
    parts = {*layout.parts, "head"} if has_head else layout.parts
    missing = [name for name in targets if name not in given and name.startswith(tuple(f"{p}." for p in parts))]
    surplus = [name for name in given if name not in targets and not covers(layout.optional, name)]
    unequal = [name for name in given if name in targets and given[name].shape != targets[name].shape]
    _check_names("lacks", missing, allow, file)
    _check_names("has, and the network lacks,", surplus, allow, file)
    for name in unequal:
        if not covers(allow, name):
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
    used = filled | ({name for name in names.values() if name and covers(layout.optional, name)} if done else set())
    notes = [*([done] if done else []), *file.notes]
    if layout.note and any(name.startswith("head.") for name in matched):
        notes.append(layout.note)
    return WeightsReport(
        source=source,
        layout=layout.name,
        matched=tuple(matched),
        skipped=tuple(key for key, name in names.items() if name not in used),
        random=tuple(name for name in targets if name not in filled and not name.endswith(COUNTER)),
        convention=file.convention,
        notes=tuple(notes),
    )


def covers(names: Iterable[str], tensor: str) -> bool:
    """Whether a tensor is named by itself or by a module above it."""
    return any(tensor == name or tensor.startswith(f"{name}.") for name in names)


def _tensors(network: DeepLab | MultiScale) -> dict[str, Tensor]:
    parts = {"backbone": network.backbone, "head": network.head}
    return {f"{part}.{name}": tensor for part, module in parts.items() for name, tensor in module.state_dict().items()}


def _check_allow(allow: Collection[str], names: Collection[str], source: str) -> None:
    for entry in allow:
        if entry not in ("input", "stride_in_1x1") and not any(covers([entry], name) for name in names):
            raise ValueError(
                f"{source}: {entry!r}, allowed to differ, names no tensor of the network or the file; give a name such "
                'as "head" or "head.fc8".'
            )


def _check_input(file: WeightFile, network: DeepLab | MultiScale, allow: Collection[str]) -> None:
    expected, given = file.convention, network.input.convention
    where = f"{file.source} ({file.layout.name})"
    if expected is not None and not expected.agrees_with(given) and "input" not in allow:
        raise ValueError(
            f"{where}: the weights expect {expected}, the network's input gives {given}; change the network's input or "
            'allow "input" to differ.'
        )
    backbone = network.backbone
    if not isinstance(backbone, ResNet) or file.stride_in_1x1 is None or "stride_in_1x1" in allow:
        return
    if backbone.stride_in_1x1 != file.stride_in_1x1 and backbone.depth >= 50:
        raise ValueError(
            f"{where}: made for stride_in_1x1={file.stride_in_1x1}, the network's backbone has "
            f'{backbone.stride_in_1x1}; change the backbone or allow "stride_in_1x1" to differ.'
        )


def _check_names(verb: str, names: Iterable[str], allowed: Collection[str], file: WeightFile) -> None:
    wrong = [name for name in names if not name.endswith(COUNTER) and not covers(allowed, name)]
    if wrong:
        raise ValueError(
            f"{file.source} ({file.layout.name}): the file {verb} {len(wrong)} tensors ({_first(wrong)}); load it into "
            "the network it was made for or allow them by name."
        )


def _first(names: Collection[str]) -> str:
    first = ", ".join(list(names)[:2])
    return first if len(names) <= 2 else f"{first}, ..."
