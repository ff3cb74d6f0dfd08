"""Names in the PyTorch ports of DeepLab whose checkpoints users hold; all expect the authors' input (BGR, 0..255)."""

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from deeplab.models.layout import CAFFE_INPUT, Layout

Names = Mapping[str, Tensor]

# kazuto1011/deeplab-pytorch: libs/models/{resnet,deeplabv1,deeplabv2,msc}.py. base. is the network inside its MSC.
_KAZUTO = re.compile(r"(?:module\.)?(?:base\.)?((?:layer[1-5]|aspp|fc)\..+)")
_KAZUTO_BLOCK = re.compile(r"layer([2-5])\.block(\d+)\.(reduce|conv3x3|increase|shortcut)\.(conv|bn)\.(\w+)")
_KAZUTO_UNITS = {"reduce": "1", "conv3x3": "2", "increase": "3"}


def _rename_kazuto(key: str) -> str | None:
    match = _KAZUTO.fullmatch(key)
    if not match:
        return None
    name = match[1]
    if name.startswith("layer1.conv1."):
        return "backbone." + name.removeprefix("layer1.conv1.").replace("conv.", "conv1.", 1).replace("bn.", "bn1.", 1)
    block = _KAZUTO_BLOCK.fullmatch(name)
    if block:
        stage, number, unit, part, kind = block.groups()
        module = f"downsample.{0 if part == 'conv' else 1}" if unit == "shortcut" else f"{part}{_KAZUTO_UNITS[unit]}"
        return f"backbone.layer{int(stage) - 1}.{int(number) - 1}.{module}.{kind}"
    if name.startswith("aspp.c"):
        return "head.branches." + name.removeprefix("aspp.c")
    return f"head.{name}" if name.startswith("fc.") else None


def _is_kazuto(state: Names) -> bool:
    return any(_KAZUTO.fullmatch(key) and key.endswith("layer1.conv1.conv.weight") for key in state)


# isht7/pytorch-deeplab-resnet (Scale. is the network inside its MSC), speedinghzl/pytorch-deeplab and AdaptSegNet with
# its descendants. Both name the backbone as torchvision does and the classifier layer5.
_SCALE = re.compile(r"(?:module\.)?(Scale\.)?((?:conv1|bn1|layer[1-6])\..+)")


def _rename_scale(classifier: str) -> Callable[[str], str | None]:
    def rename(key: str) -> str | None:
        match = _SCALE.fullmatch(key)
        if not match:
            return None
        branch = re.fullmatch(rf"{classifier}\.conv2d_list\.(\d+)\.(\w+)", match[2])
        if branch:
            return f"head.branches.{branch[1]}.{branch[2]}"
        return None if match[2].startswith(("layer5.", "layer6.")) else f"backbone.{match[2]}"

    return rename


def _holds(state: Names, pattern: str) -> bool:
    return any(re.match(pattern, key) for key in state)


def _is_multi_scale(state: Names) -> bool:
    return _holds(state, r"(module\.)?Scale\.layer1\.0\.conv1\.weight")


def _is_bare(state: Names) -> bool:
    return _holds(state, r"(module\.)?layer5\.conv2d_list\.") and not _is_two_level(state)


def _is_two_level(state: Names) -> bool:
    return _holds(state, r"(module\.)?layer6\.conv2d_list\.")


# Their classifiers return inside the loop over the branches (speedinghzl/Pytorch-Deeplab: deeplab/model.py,
# wasidennis/AdaptSegNet: model/deeplab_multi.py).
_TWO_BRANCHES = (
    "in speedinghzl's and AdaptSegNet's code, and what descends from them, only the first two branches (rates 6, 12) "
    "of the classifier count: what was trained there wants model.head.rates=[6,12] and "
    "'init.allow=[head.branches.2,head.branches.3]'"
)

# wangleihitcs/DeepLab-V1-PyTorch: nets/vgg.py, one Sequential of everything; version 1, with its average pool.
_WANGLEIHITCS = re.compile(r"(?:module\.)?features\.(\d+)\.(\w+)")
_FULLY_CONNECTED = {32: "fc6", 35: "fc7", 38: "fc8"}


def _is_wangleihitcs(state: Names) -> bool:
    indices = {int(match[1]) for match in map(_WANGLEIHITCS.fullmatch, state) if match}
    return {0, 28, *_FULLY_CONNECTED} <= indices


def _rename_wangleihitcs(vgg16: Mapping[str, str]) -> Callable[[str], str | None]:
    def rename(key: str) -> str | None:
        match = _WANGLEIHITCS.fullmatch(key)
        if not match:
            return None
        head = _FULLY_CONNECTED.get(int(match[1]))
        if head:
            return f"head.{head}.{match[2]}"
        backbone = vgg16.get(f"features.{match[1]}")
        return f"{backbone}.{match[2]}" if backbone else None

    return rename


def port_layouts(vgg16: Mapping[str, str]) -> tuple[Layout, ...]:
    """Return the layouts; `vgg16` maps torchvision's `features.N` to the backbone's modules."""
    return (
        Layout("kazuto1011", _is_kazuto, _rename_kazuto, convention=CAFFE_INPUT, stride_in_1x1=True),
        *(
            Layout(name, recognises, rename, convention=CAFFE_INPUT, stride_in_1x1=True, note=_TWO_BRANCHES)
            for name, recognises, rename in (
                ("isht7 or speedinghzl", _is_multi_scale, _rename_scale("layer5")),
                ("AdaptSegNet of two levels", _is_two_level, _rename_scale("layer6")),
                ("AdaptSegNet or speedinghzl", _is_bare, _rename_scale("layer5")),
            )
        ),
        Layout(
            "wangleihitcs",
            _is_wangleihitcs,
            _rename_wangleihitcs(vgg16),
            convention=CAFFE_INPUT,
            note="version 1 of DeepLab has an average pool before fc6: give it model.backbone.avg_pool=true",
        ),
    )
