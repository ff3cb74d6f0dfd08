from functools import partial

import pytest
import torch

from deeplab.models.deeplab import DeepLab
from deeplab.models.heads import Classifier, DirectASPP
from deeplab.models.image_input import ImageInput
from deeplab.models.mobilenet import MobileNetV2
from deeplab.models.multi_scale import MultiScale
from deeplab.models.resnet import ResNet


def network(output_stride=8, num_classes=4):
    backbone = MobileNetV2(output_stride, width=0.25)
    network_input = ImageInput("bgr", 1.0, (104.008, 116.669, 122.675), (30, 30, 30))
    return DeepLab(network_input, backbone, partial(DirectASPP, rates=(1, 2)), num_classes)


def resize(x, height, width):
    """Sample bilinearly with corners on corners, one axis after the other, by matrix products."""

    def weights(before, after):
        position = torch.arange(after, dtype=x.dtype) * (before - 1) / (after - 1)
        return (1 - (position.view(-1, 1) - torch.arange(before, dtype=x.dtype)).abs()).clamp(min=0)

    return weights(x.shape[-2], height) @ x @ weights(x.shape[-1], width).T


def test_it_is_the_released_composition(settle):
    shared = settle(network())
    image = torch.rand(2, 3, 97, 65, dtype=torch.float64) * 255
    with torch.no_grad():
        logits = MultiScale(shared).scale_logits(image)
        x1 = shared(image)
        x075 = resize(shared(resize(image, 73, 49)), 13, 9)
        x05 = shared(resize(image, 49, 33))
        fused = torch.stack([x1, x075, resize(x05, 13, 9)]).amax(dim=0)
    assert list(logits) == ["fused", "x1", "x075", "x05"]
    for name, expected in {"fused": fused, "x1": x1, "x075": x075, "x05": x05}.items():
        torch.testing.assert_close(logits[name], expected, rtol=0, atol=1e-10)
    assert torch.equal(MultiScale(shared)(image), logits["fused"])


def test_every_scale_wins_somewhere_and_then_gets_the_gradient(settle):
    logits = MultiScale(settle(network())).scale_logits(torch.rand(1, 3, 97, 97, dtype=torch.float64) * 255)
    gradients = torch.autograd.grad(logits["fused"].sum(), [logits["x1"], logits["x05"]])
    share_x1 = (logits["fused"] == logits["x1"]).double().mean()
    share_x075 = (logits["fused"] == logits["x075"]).double().mean()
    assert share_x1 > 0 and share_x075 > 0 and share_x1 + share_x075 < 1
    torch.testing.assert_close(gradients[0], (logits["fused"] == logits["x1"]).double())
    torch.testing.assert_close(gradients[1].sum() / logits["fused"].numel(), 1 - share_x1 - share_x075)


def test_sizes_of_the_paper():
    with torch.device("meta"):
        shared = DeepLab(ImageInput("rgb", 1, (0, 0, 0), (1, 1, 1)), ResNet(18), Classifier, 21)
        logits = MultiScale(shared).scale_logits(torch.empty(1, 3, 321, 321))
    assert {name: tensor.shape[-1] for name, tensor in logits.items()} == {"fused": 41, "x1": 41, "x075": 41, "x05": 21}


def test_the_labels_of_native_logits_are_every_nth_pixel(settle):
    multi_scale = MultiScale(settle(network(4)), scales=(0.5, 0.8, 1, 1.25, 2))
    assert multi_scale.size_multiple == 4 * 20
    logits = multi_scale.scale_logits(torch.rand(1, 3, 81, 161, dtype=torch.float64))
    native = {"x05": 8, "x08": 5, "x1": 4, "x2": 2}  # 4 / scale is a whole number of pixels
    for name, stride in native.items():
        assert logits[name].shape[-2:] == (80 // stride + 1, 160 // stride + 1)
    assert logits["x125"].shape == logits["fused"].shape == logits["x1"].shape


@pytest.mark.parametrize("output_stride", [4, 8, 16])
def test_size_multiple(output_stride):
    multi_scale = MultiScale(network(output_stride))
    assert multi_scale.size_multiple == 4 * output_stride
    assert multi_scale.output_stride == output_stride and multi_scale.num_classes == 4


def test_weights_are_shared_and_counted_once():
    shared = network()
    multi_scale = MultiScale(shared)
    assert multi_scale.backbone is shared.backbone and multi_scale.head is shared.head
    assert multi_scale.input is shared.input
    assert list(map(id, multi_scale.parameters())) == list(map(id, shared.parameters()))


@pytest.mark.parametrize(("height", "width", "padded"), [(96, 97, "97x97"), (97, 100, "129x97"), (321, 320, "321x321")])
def test_pictures_off_the_grid_are_refused_with_the_size_to_pad_to(height, width, padded):
    with pytest.raises(ValueError, match=f"{width}x{height}: .* must be 32\\*k\\+1; pad it to {padded}"):
        MultiScale(network())(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize("scales", [(), (0.5, 0.75), (1, 1, 0.5), (1, 0), (1, -0.5), (1, 0.7071)])
def test_impossible_scales_are_refused(scales):
    with pytest.raises(ValueError, match="scale"):
        MultiScale(network(), scales)


@pytest.mark.slow
def test_it_compiles_as_one_graph(settle):
    multi_scale = MultiScale(settle(network(16)))
    image = torch.rand(1, 3, 65, 65, dtype=torch.float64) * 255
    with torch.no_grad():
        compiled = torch.compile(multi_scale, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(image), multi_scale(image))
