"""What atrous convolution stands for: dense features, subsampled, are the features of the original network."""

from functools import lru_cache, partial

import pytest
import torch

from deeplab.models.atrous import AtrousPlan
from deeplab.models.mobilenet import MobileNetV2
from deeplab.models.resnet import ResNet
from deeplab.models.vgg import VGG16

torchvision_resnet = partial(ResNet, stride_in_1x1=False, ceil_pool=False)
slow = pytest.mark.slow


def case(name, build, strides=(8,), slow_strides=(4, 16)):
    return [
        *(pytest.param(build, stride, id=f"{name}-{stride}") for stride in strides),
        *(pytest.param(build, stride, id=f"{name}-{stride}", marks=slow) for stride in slow_strides),
    ]


BACKBONES = [
    *case("vgg16", partial(VGG16, dilated_pools=True)),
    *case("vgg16-avg-pool", partial(VGG16, dilated_pools=True, avg_pool=True)),
    *case("resnet18", partial(ResNet, 18)),
    *case("resnet18-floor", partial(ResNet, 18, ceil_pool=False), (), (4, 8, 16)),
    *case("resnet34", partial(ResNet, 34), (), (4, 8, 16)),
    *case("resnet50-1x1", partial(ResNet, 50)),
    *case("resnet50-1x1-floor", partial(ResNet, 50, ceil_pool=False), (), (4, 8, 16)),
    *case("resnet50-3x3", partial(ResNet, 50, stride_in_1x1=False), (), (4, 8, 16)),
    *case("resnet50-3x3-floor", partial(torchvision_resnet, 50)),
    *case("resnet101-1x1", partial(ResNet, 101), (), (4, 8, 16)),
    *case("resnet101-3x3-floor", partial(torchvision_resnet, 101), (), (4, 8, 16)),
    *case("resnet152-1x1", partial(ResNet, 152), (), (4, 8, 16)),
    *case("mobilenet", MobileNetV2, (4, 8, 16), ()),
    *case("mobilenet-last-conv", partial(MobileNetV2, last_conv=True, width=0.5), (4, 8, 16), ()),
]


@lru_cache(maxsize=1)
def at_stride_32(build, settle, height, width):
    """Weights, a picture and the original features, which a backbone's tests share: the largest have 60 million."""
    torch.manual_seed(0)
    state = settle(build(output_stride=32)).state_dict()
    image = torch.randn(1, 3, height, width, dtype=torch.float64)
    return state, image, features_of(build, 32, state, image)


def features_of(build, output_stride, state, image):
    with torch.device("meta"):
        network = build(output_stride=output_stride).double().eval()
    network.load_state_dict(state, assign=True)
    with torch.no_grad():
        features = network(image)
    assert network.output_stride == output_stride
    assert features.shape[1] == network.out_channels
    return features


def assert_property(build, output_stride, settle, height, width):
    state, image, original = at_stride_32(build, settle, height, width)
    dense = features_of(build, output_stride, state, image)

    assert dense.shape[-2] > original.shape[-2] and original[0].std() > 1e-6
    step = 32 // output_stride
    torch.testing.assert_close(dense[..., ::step, ::step], original, rtol=0, atol=1e-11 * float(original.abs().max()))


@pytest.mark.parametrize(("build", "output_stride"), BACKBONES)
def test_dense_features_subsampled_are_the_original_features(build, output_stride, settle):
    assert_property(build, output_stride, settle, 97, 65)


@pytest.mark.parametrize("build", [partial(ResNet, 18), partial(ResNet, 18, ceil_pool=False), MobileNetV2])
@pytest.mark.parametrize(("height", "width"), [(96, 64), (83, 110)])
def test_where_only_convolutions_lose_strides_it_holds_for_any_size(build, height, width, settle):
    assert_property(build, 8, settle, height, width)


def test_plan_multiplies_the_dilation_of_what_follows_a_lost_stride():
    plan = AtrousPlan(8)
    assert [(plan.downsample(2), plan.dilation) for _ in range(5)] == [(2, 1), (2, 1), (2, 1), (1, 2), (1, 4)]
    assert plan.stride == 8


@pytest.mark.parametrize("output_stride", [0, 2, 12, 64])
def test_other_output_strides_are_refused(output_stride):
    with pytest.raises(ValueError, match=r"choose one of \(4, 8, 16, 32\)"):
        VGG16(output_stride=output_stride)
