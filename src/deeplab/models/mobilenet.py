"""MobileNetV2 as a dense feature extractor (Sandler et al., arXiv 1801.04381, Table 2).

Not a network of the DeepLab v2 paper: it serves runs that must be cheap (CPU, demos, tests).
"""

from torch import Tensor, nn

from deeplab.models.atrous import AtrousPlan
from deeplab.models.width import check_width

# (expansion, output channels, blocks, stride of the first block), arXiv 1801.04381, Table 2.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM_CHANNELS = 32
LAST_CHANNELS = 1280


def _round_channels(channels: float) -> int:
    """Round to a multiple of 8 without losing more than 10 % (the authors' `make_divisible`)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _conv_bn_relu6(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> list[nn.Module]:
    convolution = nn.Conv2d(
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        padding=dilation * (kernel - 1) // 2,
        dilation=dilation,
        groups=groups,
        bias=False,
    )
    return [convolution, nn.BatchNorm2d(out_channels), nn.ReLU6(inplace=True)]


class InvertedResidual(nn.Module):
    """Expand, filter depthwise, project linearly; x: (B, C, h, w).

    `stride` and `dilation` are those of the depthwise 3x3 after atrous conversion, `is_residual` is decided by the
    stride before it.
    """

    def __init__(
        self, in_channels: int, out_channels: int, expansion: int, stride: int, dilation: int, is_residual: bool
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(nn.Sequential(*_conv_bn_relu6(in_channels, hidden, 1)))
        layers.append(nn.Sequential(*_conv_bn_relu6(hidden, hidden, 3, stride, dilation, groups=hidden)))
        layers += [nn.Conv2d(hidden, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)]
        self.conv = nn.Sequential(*layers)
        self.is_residual = is_residual

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.conv(x)
        return x + projected if self.is_residual else projected


class MobileNetV2(nn.Module):
    """MobileNetV2 without its classifier: image (B, 3, h, w) -> features (B, out_channels, h/s, w/s).

    Args:
        output_stride: 4, 8, 16 or 32.
        width: multiplier of all channel numbers.
        last_conv: keep the final 1x1 convolution to 1280 channels; False ends at the 320 channels before it.
        in_channels: channels of the input.

    Keys of the state dict are those of torchvision's `mobilenet_v2`. Raises ValueError for a width above 16.
    """

    def __init__(
        self, output_stride: int = 16, width: float = 1.0, last_conv: bool = False, in_channels: int = 3
    ) -> None:
        super().__init__()
        check_width(width)
        plan = AtrousPlan(output_stride)
        channels = _round_channels(STEM_CHANNELS * width)
        features: list[nn.Module] = [nn.Sequential(*_conv_bn_relu6(in_channels, channels, 3, plan.downsample(2)))]
        for expansion, stage_channels, blocks, stage_stride in STAGES:
            for block in range(blocks):
                previous, channels = channels, _round_channels(stage_channels * width)
                original_stride = stage_stride if block == 0 else 1
                dilation = plan.dilation
                features.append(
                    InvertedResidual(
                        previous,
                        channels,
                        expansion,
                        stride=plan.downsample(original_stride),
                        dilation=dilation,
                        is_residual=original_stride == 1 and previous == channels,
                    )
                )
        if last_conv:
            previous, channels = channels, _round_channels(LAST_CHANNELS * max(1.0, width))
            features.append(nn.Sequential(*_conv_bn_relu6(previous, channels, 1)))
        self.features = nn.Sequential(*features)
        self.out_channels = channels
        self.output_stride = plan.stride

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.features(image)
        return features
