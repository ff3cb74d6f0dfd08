from functools import partial

import pytest
import torch

from deeplab.models.complexity import layer_costs
from deeplab.models.deeplab import DeepLab
from deeplab.models.heads import DirectASPP, LargeFOV
from deeplab.models.image_input import ImageInput
from deeplab.models.mobilenet import MobileNetV2
from deeplab.models.multi_scale import MultiScale
from deeplab.models.resnet import ResNet
from deeplab.models.vgg import VGG16


def deeplab(backbone, head):
    return DeepLab(ImageInput("rgb", 1, (0, 0, 0), (1, 1, 1)), backbone, head, 21)


def multiply_adds(rows):
    return sum(row.multiply_adds for row in rows)


def test_vgg_large_fov_by_hand():
    with torch.device("meta"):
        rows = layer_costs(deeplab(VGG16(), LargeFOV), 321, 321)
    # (side, input channels, output channels, kernel) of every convolution
    layers = [(321, 3, 64, 3), (321, 64, 64, 3), (161, 64, 128, 3), (161, 128, 128, 3), (81, 128, 256, 3)]
    layers += [(81, 256, 256, 3)] * 2 + [(41, 256, 512, 3)] + [(41, 512, 512, 3)] * 5
    layers += [(41, 512, 1024, 3), (41, 1024, 1024, 1), (41, 1024, 21, 1)]
    convolutions = [row for row in rows if row.type == "Conv2d"]
    for row, (side, before, after, kernel) in zip(convolutions, layers, strict=True):
        assert row.output_shape == (after, side, side)
        assert row.multiply_adds == side**2 * before * after * kernel**2
        assert row.parameters == before * after * kernel**2 + after
    assert [row.name for row in rows][:3] == ["input", "backbone.conv1_1", "backbone.conv1_2"]
    assert [row.name for row in rows][-2:] == ["head.fc7", "head.fc8"]
    assert sum(row.parameters for row in rows) == 20_505_429


@pytest.mark.parametrize(
    ("build", "expected"),
    # Published multiply-adds of the ImageNet networks at 224x224, less those of their classifier.
    [
        (partial(ResNet, 50, 32, False, False), 4_089_184_256 - 2_048_000),
        (partial(MobileNetV2, 32, last_conv=True), 300_774_272 - 1_280_000),
    ],
)
def test_imagenet_networks(build, expected):
    with torch.device("meta"):
        assert multiply_adds(layer_costs(build(), 224, 224)) == expected


def test_multi_scale_adds_up_its_sizes_and_counts_parameters_once():
    network = deeplab(MobileNetV2(8), DirectASPP)
    rows = layer_costs(MultiScale(network), 321, 257)
    sizes = [(321, 257), (241, 193), (161, 129)]
    assert multiply_adds(rows) == sum(multiply_adds(layer_costs(network, *size)) for size in sizes)
    assert sum(row.parameters for row in rows) == sum(parameter.numel() for parameter in network.parameters())
    assert rows[-1].output_shape == (21, 41, 33)


def test_the_network_is_left_as_it_is():
    network = deeplab(MobileNetV2(8, width=0.25), DirectASPP).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    layer_costs(network, 33, 33)
    assert network.training and all(module.training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
    network(torch.zeros(2, 3, 33, 33)).sum().backward()
