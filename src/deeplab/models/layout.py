"""What a layout is: one way to name the tensors of a weight file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from deeplab.models.image_input import InputConvention

CAFFE_INPUT = InputConvention("bgr", 1.0, (104.008, 116.669, 122.675), (1.0, 1.0, 1.0))
TORCHVISION_INPUT = InputConvention("rgb", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# The fully connected layers of an ImageNet VGG-16: heads that have them take them, subsampled where they are smaller.
FULLY_CONNECTED = ("head.fc6", "head.fc7")


@dataclass(frozen=True)
class Layout:
    """One way to name the tensors of a weight file.

    `rename` returns a tensor's name in the network, None for what the network does not use (a classifier).
    `parts` are the network's parts that such a file must fill; `optional` are names of tensors that it holds and the
    network need not have; `convention` is the input the weights expect, None where the names do not tell;
    `stride_in_1x1` is where a ResNet of this layout has its strides, None where that does not apply; `note` is what
    whoever loads such a file should know.
    """

    name: str
    recognises: Callable[[Mapping[str, Tensor]], bool]
    rename: Callable[[str], str | None]
    parts: tuple[str, ...] = ("backbone",)
    optional: tuple[str, ...] = ()
    convention: InputConvention | None = None
    stride_in_1x1: bool | None = None
    note: str | None = None
