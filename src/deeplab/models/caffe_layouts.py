"""Names in the authors' Caffe networks (released prototxts), as `caffemodel.read_caffemodel` returns them."""

import re
from collections.abc import Mapping

from torch import Tensor

from deeplab.models.layout import CAFFE_INPUT, FULLY_CONNECTED, Layout

# Layers of the network's copies for scales 0.75 and 0.5; their weights are those of scale 1.
_COPIES = re.compile(r"res075|res05")
_RESIDUAL = re.compile(r"(res|bn|scale)([2-5])([a-z])(\d*)_branch(1|2a|2b|2c)\.(\w+)")
_BRANCHES = {"2a": "1", "2b": "2", "2c": "3"}
_STEM = {"conv1": "conv1", "bn_conv1": "bn1", "scale_conv1": "bn1"}
_ASPP_CLASSIFIER = re.compile(r"fc1_\w+_c(\d)\.(\w+)")
_VGG_HEAD = re.compile(r"(fc[67]|fc8_[a-zA-Z]\w*?)(?:_(\d))?\.(\w+)")


def _rename_resnet(key: str) -> str | None:
    layer, _, kind = key.rpartition(".")
    residual = _RESIDUAL.fullmatch(key)
    if _COPIES.search(layer):
        return None
    if layer in _STEM:
        return f"backbone.{_STEM[layer]}.{kind}"
    if residual:
        part, stage, letter, number, branch, kind = residual.groups()
        block = int(number) if number else ord(letter) - ord("a")  # a, b, c, ... or a, b1, b2, ...
        is_convolution = part == "res"
        if branch == "1":
            module = f"downsample.{0 if is_convolution else 1}"
        else:
            module = f"{'conv' if is_convolution else 'bn'}{_BRANCHES[branch]}"
        return f"backbone.layer{int(stage) - 1}.{block}.{module}.{kind}"
    aspp = _ASPP_CLASSIFIER.fullmatch(key)
    if aspp:
        return f"head.branches.{aspp[1]}.{aspp[2]}"
    return f"head.fc.{kind}" if layer.startswith("fc1_") else None


def _is_resnet(state: Mapping[str, Tensor]) -> bool:
    return {"conv1.weight", "bn_conv1.running_mean", "res2a_branch1.weight"} <= state.keys()


def _rename_vgg16(key: str) -> str | None:
    layer = key.rpartition(".")[0]
    if _COPIES.search(layer):
        return None
    if re.fullmatch(r"conv[1-5]_[1-3]", layer):
        return f"backbone.{key}"
    head = _VGG_HEAD.fullmatch(key)
    if not head:
        return None  # fc8 alone is ImageNet's classifier
    branch = "" if head[2] is None else f"branches.{int(head[2]) - 1}."
    return f"head.{branch}{head[1][:3]}.{head[3]}"


def _is_vgg16(state: Mapping[str, Tensor]) -> bool:
    return {"conv1_1.weight", "conv3_3.weight", "conv5_3.weight"} <= state.keys()


LAYOUTS = (
    Layout("Caffe ResNet", _is_resnet, _rename_resnet, convention=CAFFE_INPUT, stride_in_1x1=True),
    Layout("Caffe VGG-16", _is_vgg16, _rename_vgg16, optional=FULLY_CONNECTED, convention=CAFFE_INPUT),
)
