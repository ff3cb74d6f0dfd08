from functools import partial

import pytest
import torch

from deeplab.models.deeplab import DeepLab
from deeplab.models.heads import ASPP, Classifier, DirectASPP, DirectLargeFOV, LargeFOV
from deeplab.models.image_input import ImageInput
from deeplab.models.mobilenet import MobileNetV2
from deeplab.models.resnet import ResNet
from deeplab.models.vgg import VGG16


def deeplab(backbone, head, num_classes=21):
    return DeepLab(ImageInput("rgb", 1.0, (120, 110, 100), (1, 1, 1)), backbone, head, num_classes)


@pytest.mark.parametrize(
    ("backbone", "head", "parameters"),
    [
        (VGG16, LargeFOV, 20_505_429),  # the paper: 20.5 M
        (VGG16, ASPP, 37_877_652),
        (VGG16, partial(LargeFOV, rate=4, kernel_size=7, hidden_channels=4096), 134_346_581),  # the paper: 134.3 M
        (VGG16, partial(LargeFOV, rate=4, kernel_size=4, hidden_channels=4096), 65_140_565),  # the paper: 65.1 M
        (VGG16, partial(LargeFOV, rate=8, kernel_size=4, hidden_channels=4096), 65_140_565),
        (ResNet, DirectASPP, 44_048_532),
        (ResNet, DirectLargeFOV, 42_887_253),
        (ResNet, Classifier, 42_543_189),
    ],
)
def test_parameters_are_the_papers(backbone, head, parameters):
    with torch.device("meta"):
        network = deeplab(backbone(), head)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize("backbone", [VGG16, partial(ResNet, 50)])
@pytest.mark.parametrize(
    ("side", "expected"),
    # On the grid 8k+1, then off it (ceil mode).
    [(321, 41), (513, 65), (241, 31), (161, 21), (257, 33), (673, 85), (769, 97), (160, 21), (240, 31), (505, 64)],
)
def test_output_sizes(backbone, side, expected):
    with torch.device("meta"):
        network = deeplab(backbone(), Classifier)
        assert network(torch.empty(1, 3, side, 41)).shape == (1, 21, expected, 6)


@pytest.mark.parametrize("backbone", [VGG16, partial(ResNet, 18), MobileNetV2])
@pytest.mark.parametrize("output_stride", [4, 8, 16, 32])
def test_pictures_on_the_grid_have_one_logit_every_stride_pixels(backbone, output_stride):
    with torch.device("meta"):
        network = deeplab(backbone(output_stride=output_stride), Classifier)
        height, width = 3 * network.size_multiple + 1, 2 * network.size_multiple + 1
        assert network(torch.empty(2, 3, height, width)).shape == (2, 21, 4, 3)
    assert network.output_stride == network.size_multiple == output_stride


def test_it_is_input_backbone_and_head_in_a_row():
    network = deeplab(MobileNetV2(output_stride=16, width=0.25), partial(DirectASPP, rates=(1, 2)), num_classes=3)
    network.eval()
    image = torch.rand(1, 3, 33, 49) * 255
    with torch.no_grad():
        expected = network.head(network.backbone(image - torch.tensor([120.0, 110.0, 100.0]).view(3, 1, 1)))
        torch.testing.assert_close(network(image), expected)
        (fused,) = network.scale_logits(image).values()
        assert torch.equal(fused, network(image))
    assert list(network.scale_logits(image)) == ["fused"] and network.num_classes == 3


def test_the_state_dict_holds_backbone_and_head_only():
    state = deeplab(MobileNetV2(width=0.25), Classifier).state_dict()
    assert {name.split(".")[0] for name in state} == {"backbone", "head"}


def test_no_classes_are_refused():
    with pytest.raises(ValueError, match="num_classes=0"):
        deeplab(MobileNetV2(), Classifier, num_classes=0)
