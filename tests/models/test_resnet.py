import pytest
import torch
import torch.nn.functional as F

from deeplab.models.resnet import ResNet

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def original(depth, state, image, stride_in_1x1, ceil_pool):
    """The ImageNet network of stride 32, written out."""

    def conv_bn(x, conv, bn, stride=1, padding=0):
        x = F.conv2d(x, state[f"{conv}.weight"], stride=stride, padding=padding)
        mean, var, gamma, beta = (
            state[f"{bn}.{kind}"].view(1, -1, 1, 1) for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * gamma + beta

    x = F.relu(conv_bn(image, "conv1", "bn1", stride=2, padding=3))
    x = F.max_pool2d(x, 3, 2, padding=1, ceil_mode=ceil_pool)
    for stage, blocks in enumerate(BLOCKS[depth], start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            if depth < 50:
                y = F.relu(conv_bn(x, f"{name}.conv1", f"{name}.bn1", stride, padding=1))
                y = conv_bn(y, f"{name}.conv2", f"{name}.bn2", padding=1)
            else:
                first, second = (stride, 1) if stride_in_1x1 else (1, stride)
                y = F.relu(conv_bn(x, f"{name}.conv1", f"{name}.bn1", first))
                y = F.relu(conv_bn(y, f"{name}.conv2", f"{name}.bn2", second, padding=1))
                y = conv_bn(y, f"{name}.conv3", f"{name}.bn3")
            if f"{name}.downsample.0.weight" in state:
                x = conv_bn(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
            x = F.relu(x + y)
    return x


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize(("stride_in_1x1", "ceil_pool"), [(True, True), (False, False)])
def test_at_stride_32_it_is_the_imagenet_network(depth, stride_in_1x1, ceil_pool, settle):
    network = settle(ResNet(depth, 32, stride_in_1x1, ceil_pool))
    image = torch.randn(1, 3, 64, 75, dtype=torch.float64)
    with torch.no_grad():
        features = network(image)
        expected = original(depth, network.state_dict(), image, stride_in_1x1, ceil_pool)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


def test_where_the_stride_sits_matters_in_bottlenecks(settle):
    network, other = settle(ResNet(50)), ResNet(50, stride_in_1x1=False).double().eval()
    other.load_state_dict(network.state_dict())
    image = torch.randn(1, 3, 33, 33, dtype=torch.float64)
    with torch.no_grad():
        assert not torch.allclose(network(image), other(image))
    assert network.stride_in_1x1 and not ResNet(18).stride_in_1x1


# The published ImageNet networks have these numbers, plus those of their classifier of 1000 classes.
@pytest.mark.parametrize(
    ("depth", "parameters", "channels"),
    [
        (18, 11_689_512 - 513_000, 512),
        (34, 21_797_672 - 513_000, 512),
        (50, 25_557_032 - 2_049_000, 2048),
        (101, 44_549_160 - 2_049_000, 2048),
        (152, 60_192_808 - 2_049_000, 2048),
    ],
)
def test_parameters(depth, parameters, channels):
    with torch.device("meta"):
        network = ResNet(depth)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert network.out_channels == channels


def test_released_resnet101_dilates_every_3x3_of_the_last_stages():
    with torch.device("meta"):
        network = ResNet()
    assert {block.conv2.dilation for block in network.layer3} == {(2, 2)}
    assert {block.conv2.dilation for block in network.layer4} == {(4, 4)}
    assert network.layer2[0].conv1.stride == network.layer2[0].downsample[0].stride == (2, 2)
    assert network.layer2[0].conv2.stride == network.layer3[0].conv1.stride == (1, 1)


def test_unknown_depth_is_refused():
    with pytest.raises(ValueError, match=r"depth=99: choose one of \(18, 34, 50, 101, 152\)"):
        ResNet(99)
