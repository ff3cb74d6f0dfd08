"""ResNet as a dense feature extractor (He et al., arXiv 1512.03385, Table 1; section 4.1.2 of the DeepLab paper)."""

from torch import Tensor, nn

from deeplab.models.atrous import AtrousPlan
from deeplab.models.width import check_width

# Residual blocks of the four stages.
BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
STAGE_WIDTHS = (64, 128, 256, 512)
STAGE_STRIDES = (1, 2, 2, 2)
EXPANSION = 4  # of the last 1x1 of a bottleneck


def _conv3x3(in_channels: int, out_channels: int, stride: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation, bias=False)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; (B, C, h, w) -> (B, width, h/stride, w/stride).

    The first convolution holds the stride and works at the dilation before it, the second at the dilation after it.
    """

    def __init__(
        self, in_channels: int, width: int, stride: int, dilation_before: int, dilation_after: int, project: bool
    ) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, width, stride, dilation_before)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, 1, dilation_after)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, width, stride) if project else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        result: Tensor = self.relu(y + self.downsample(x))
        return result


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut; (B, C, h, w) -> (B, 4 width, h/stride, w/stride).

    `stride_in_1x1` puts the stride into the first 1x1 (the authors' Caffe form), else it is in the 3x3 (torchvision's
    form); the 3x3 works at the dilation after the stride in the one, before it in the other.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        dilation_before: int,
        dilation_after: int,
        project: bool,
        stride_in_1x1: bool,
    ) -> None:
        super().__init__()
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, width, 1, stride_1x1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, stride_3x3, dilation_after if stride_in_1x1 else dilation_before)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, EXPANSION * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(EXPANSION * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, EXPANSION * width, stride) if project else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        result: Tensor = self.relu(y + self.downsample(x))
        return result


class ResNet(nn.Module):
    """ResNet without its classifier: image (B, 3, h, w) -> features (B, 512 or 2048, h/s, w/s).

    Keys of the state dict are those of torchvision's `resnet*`. Defaults are the authors' ResNet-101.

    Args:
        depth: 18, 34, 50, 101 or 152.
        output_stride: 4, 8 (the paper's), 16 or 32.
        stride_in_1x1: in bottlenecks (depth 50 and above) the stride sits in the first 1x1 convolution, as in Caffe;
            False: in the 3x3, as torchvision's weights expect. Depths 18 and 34 have no 1x1 to hold it.
        ceil_pool: round the size after the stem's pool up, as Caffe does; False: down, as torchvision does. The same
            for sides of 4k+1.
        width: multiplier of all channel numbers; below 1 for small networks trained from scratch.

    Convolutions start from He's initialisation (arXiv 1502.01852). Raises ValueError for another depth, and for a
    width that leaves no channel or is above 16.
    """

    def __init__(
        self,
        depth: int = 101,
        output_stride: int = 8,
        stride_in_1x1: bool = True,
        ceil_pool: bool = True,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f"depth={depth}: choose one of {tuple(BLOCKS)}.")
        self.depth = depth
        self.stride_in_1x1 = stride_in_1x1 and depth >= 50
        if round(64 * width) < 1:
            raise ValueError(f"width={width}: choose a number above {1 / 64}.")
        check_width(width)
        plan = AtrousPlan(output_stride)
        self.out_channels = round(64 * width)
        self.conv1 = nn.Conv2d(3, self.out_channels, 7, plan.downsample(2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(self.out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, plan.downsample(2), padding=1, ceil_mode=ceil_pool)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            self._stage(plan, depth, stage, blocks, width) for stage, blocks in enumerate(BLOCKS[depth])
        )
        self.output_stride = plan.stride
        self._initialise()

    def _stage(self, plan: AtrousPlan, depth: int, stage: int, blocks: int, factor: float) -> nn.Sequential:
        width = round(STAGE_WIDTHS[stage] * factor)
        out_channels = width if depth < 50 else EXPANSION * width
        layers: list[nn.Module] = []
        for block in range(blocks):
            original_stride = STAGE_STRIDES[stage] if block == 0 else 1
            project = original_stride != 1 or self.out_channels != out_channels
            before = plan.dilation
            stride = plan.downsample(original_stride)
            if depth < 50:
                layers.append(BasicBlock(self.out_channels, width, stride, before, plan.dilation, project))
            else:
                layers.append(
                    Bottleneck(self.out_channels, width, stride, before, plan.dilation, project, self.stride_in_1x1)
                )
            self.out_channels = out_channels
        return nn.Sequential(*layers)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        x: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        features: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return features
