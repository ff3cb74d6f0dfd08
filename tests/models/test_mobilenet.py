import pytest
import torch
import torch.nn.functional as F

from deeplab.models.mobilenet import MobileNetV2

# arXiv 1801.04381, Table 2: expansion t, channels c, repetitions n, stride s.
TABLE_2 = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


def original(state, image):
    """The ImageNet network of stride 32, written out over torchvision's names."""

    def conv_bn(x, conv, bn, stride=1, groups=1):
        weight = state[f"{conv}.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
        mean, var, gamma, beta = (state[f"{bn}.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, gamma, beta, training=False)

    x = F.relu6(conv_bn(image, "features.0.0", "features.0.1", stride=2))
    number, channels = 1, 32
    for expansion, out_channels, repetitions, first_stride in TABLE_2:
        for repetition in range(repetitions):
            name, stride = f"features.{number}.conv", first_stride if repetition == 0 else 1
            hidden, y, layer = channels * expansion, x, 0
            if expansion > 1:
                y, layer = F.relu6(conv_bn(y, f"{name}.0.0", f"{name}.0.1")), 1
            y = F.relu6(conv_bn(y, f"{name}.{layer}.0", f"{name}.{layer}.1", stride, groups=hidden))
            y = conv_bn(y, f"{name}.{layer + 1}", f"{name}.{layer + 2}")
            x = x + y if stride == 1 and channels == out_channels else y
            number, channels = number + 1, out_channels
    return F.relu6(conv_bn(x, "features.18.0", "features.18.1"))


def test_at_stride_32_it_is_the_imagenet_network(settle):
    network = settle(MobileNetV2(32, last_conv=True))
    image = torch.randn(1, 3, 64, 75, dtype=torch.float64)
    with torch.no_grad():
        expected = original(network.state_dict(), image)
        torch.testing.assert_close(network(image), expected, rtol=0, atol=1e-12)
    assert expected.std() > 0


def test_parameters():
    # The published network has 3,504,872, of which 1,281,000 are its classifier.
    with torch.device("meta"):
        whole, default = MobileNetV2(last_conv=True), MobileNetV2()
    assert sum(parameter.numel() for parameter in whole.parameters()) == 3_504_872 - 1_281_000
    assert whole.out_channels == 1280
    assert default.out_channels == 320 and "features.18.0.weight" not in default.state_dict()


def test_width_scales_all_channels_to_multiples_of_8():
    with torch.device("meta"):
        network = MobileNetV2(width=0.35)
    widths = [tensor.shape[0] for name, tensor in network.state_dict().items() if name.endswith(".0.weight")]
    assert network.out_channels == 112 and all(width % 8 == 0 for width in widths)


def test_a_width_that_no_memory_holds_is_refused():
    with pytest.raises(ValueError, match="width=100: choose a number of at most 16"):
        MobileNetV2(width=100)
