"""How the tensors of known weight files are named, and which network they were made for.

A layout recognises a state dict by its names and says what each tensor is called in a `DeepLab` network
(`backbone....`, `head....`). A further file format is a further `Layout` in `LAYOUTS`.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from deeplab.models import caffe_layouts
from deeplab.models.layout import FULLY_CONNECTED, TORCHVISION_INPUT, Layout
from deeplab.models.port_layouts import port_layouts
from deeplab.models.vgg import STAGES as VGG_STAGES

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
# classifier.6 is ImageNet's.
_VGG16_NAMES = _VGG16 | {"classifier.0": "head.fc6", "classifier.3": "head.fc7"}


def _is_vgg16(state: Mapping[str, Tensor]) -> bool:
    return all(f"{layer}.weight" in state and state[f"{layer}.weight"].ndim == 4 for layer in _VGG16)


def _rename_vgg16(key: str) -> str | None:
    layer, _, kind = key.rpartition(".")
    return f"{_VGG16_NAMES[layer]}.{kind}" if layer in _VGG16_NAMES else None


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


# What `deeplab weights convert` writes: our names, but not always a whole network.
CONVERTED = Layout("converted", _is_own, _rename_own, optional=FULLY_CONNECTED)

LAYOUTS = (
    Layout("DeepLab", _is_own, _rename_own, parts=("backbone", "head")),
    *caffe_layouts.LAYOUTS,
    *port_layouts(_VGG16),
    # The same names serve Caffe's weights (BGR, 0..255) and torchvision's own (RGB, normalised).
    Layout("torchvision VGG-16", _is_vgg16, _rename_vgg16, optional=FULLY_CONNECTED),
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
