"""How the tensors of known weight files are named, and which network they were made for.

A layout recognises a state dict by its names and says what each tensor is called in a `DeepLab` network
(`backbone....`, `head....`). A further file format is a further `Layout` in `LAYOUTS`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from deeplab.models.image_input import InputConvention
from deeplab.models.vgg import STAGES as VGG_STAGES

TORCHVISION_INPUT = InputConvention("rgb", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Layout:
    """One way to name the tensors of a weight file.

    `rename` returns a tensor's name in the network, None for what the network does not use (a classifier).
    `parts` are the network's parts that such a file must fill; `optional` are names of tensors that it holds and the
    network need not have; `convention` is the input the weights expect, None where the names do not tell;
    `stride_in_1x1` is where a ResNet of this layout has its strides, None where that does not apply.
    """

    name: str
    recognises: Callable[[Mapping[str, Tensor]], bool]
    rename: Callable[[str], str | None]
    parts: tuple[str, ...] = ("backbone",)
    optional: tuple[str, ...] = ()
    convention: InputConvention | None = None
    stride_in_1x1: bool | None = None


# Own files: a network's state dict, also inside a multi-scale network, a LightningModule, DDP or a compiled module.
_OWN = re.compile(r"(?:(?:network|model|module)\.)*((?:backbone|head)\..+)")


def _rename_own(key: str) -> str | None:
    match = _OWN.fullmatch(key.replace("_orig_mod.", ""))
    return match[1] if match else None


def _is_own(state: Mapping[str, Tensor]) -> bool:
    return any(_rename_own(key) for key in state)


def _vgg16_names() -> dict[str, str]:
    """Map torchvision's `features.N` to conv1_1 ... conv5_3: N counts convolutions, ReLUs and pools."""
    names, index = {}, 0
    for stage, (_, convolutions) in enumerate(VGG_STAGES, start=1):
        for convolution in range(1, convolutions + 1):
            names[f"features.{index}"] = f"backbone.conv{stage}_{convolution}"
            index += 2
        index += 1
    return names


_VGG16 = _vgg16_names()


def _is_vgg16(state: Mapping[str, Tensor]) -> bool:
    return all(f"{layer}.weight" in state and state[f"{layer}.weight"].ndim == 4 for layer in _VGG16)


def _rename_vgg16(key: str) -> str | None:
    layer, _, kind = key.rpartition(".")
    return f"{_VGG16[layer]}.{kind}" if layer in _VGG16 else None


def _is_resnet(state: Mapping[str, Tensor]) -> bool:
    # layer5 is the classifier that segmentation networks in the same naming carry; they expect another input.
    return {"conv1.weight", "bn1.running_mean", "layer4.0.conv1.weight"} <= state.keys() and not any(
        key.startswith("layer5.") for key in state
    )


def _rename_resnet(key: str) -> str | None:
    return None if key.startswith("fc.") else f"backbone.{key}"


def _is_mobilenet(state: Mapping[str, Tensor]) -> bool:
    return {"features.0.0.weight", "features.1.conv.0.0.weight", "features.17.conv.3.running_mean"} <= state.keys()


def _rename_mobilenet(key: str) -> str | None:
    return f"backbone.{key}" if key.startswith("features.") else None


LAYOUTS = (
    Layout("DeepLab", _is_own, _rename_own, parts=("backbone", "head")),
    # The same names serve Caffe's weights (BGR, 0..255) and torchvision's own (RGB, normalised).
    Layout("torchvision VGG-16", _is_vgg16, _rename_vgg16),
    Layout("torchvision ResNet", _is_resnet, _rename_resnet, convention=TORCHVISION_INPUT, stride_in_1x1=False),
    Layout(
        "torchvision MobileNetV2",
        _is_mobilenet,
        _rename_mobilenet,
        optional=("backbone.features.18",),  # the last 1x1 convolution, `last_conv`
        convention=TORCHVISION_INPUT,
    ),
)


def recognise(state: Mapping[str, Tensor], source: str) -> Layout:
    """Return the layout of a state dict; raises ValueError, naming `source`, where none fits."""
    for layout in LAYOUTS:
        if layout.recognises(state):
            return layout
    known = ", ".join(layout.name for layout in LAYOUTS)
    raise ValueError(f"{source}: no known layout names its tensors like {next(iter(state))!r}; known are {known}.")
