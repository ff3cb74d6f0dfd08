"""VGG-16 as a dense feature extractor, in the form the authors released (section 3.1 and 4.1).

The released network differs from the ImageNet one (Simonyan and Zisserman, arXiv 1409.1556) in its pools: kernel 3 with
padding 1 instead of kernel 2 without, ceil mode as everywhere in Caffe.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from deeplab.models.atrous import AtrousPlan

# (channels, convolutions) of each stage; a pool of stride 2 follows each.
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class DilatedMaxPool(nn.Module):
    """3x3 max pool of stride 1 whose nine taps lie `dilation` apart; (B, C, h, w) -> the same size.

    The border is padded with -inf beforehand, since torch's own pool takes no padding above half its kernel.
    """

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, [self.dilation] * 4, value=float("-inf"))
        return F.max_pool2d(padded, 3, stride=1, dilation=self.dilation)

    def extra_repr(self) -> str:
        return f"dilation={self.dilation}"


class DilatedAveragePool(nn.Module):
    """3x3 mean of stride 1 whose nine taps lie `dilation` apart; taps beyond the border count as 0, as in Caffe."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        mean = x.new_full((x.shape[1], 1, 3, 3), 1 / 9)
        return F.conv2d(x, mean, padding=self.dilation, dilation=self.dilation, groups=x.shape[1])

    def extra_repr(self) -> str:
        return f"dilation={self.dilation}"


class VGG16(nn.Sequential):
    """The 13 convolutions of VGG-16: image (B, 3, h, w) -> features (B, 512, h/s, w/s).

    Layers and tensors have the names of the released prototxt (`conv1_1` ... `pool5`). Sides n become
    ceil((n - 1) / s) + 1.

    Args:
        output_stride: 4, 8 (the paper's), 16 or 32; pools lose their stride, later convolutions are dilated.
        dilated_pools: dilate the later pools too. Only then do the dense features, subsampled, equal those of the
            network of stride 32 (on its grid, pictures of 32k+1). The released network leaves its pools of stride 1
            undilated: False.
        avg_pool: add `pool5a`, the 3x3 mean (stride 1) between pool5 and fc6 that the first version of DeepLab had;
            the released networks of version 2 have none: False.

    Without weights the convolutions start from He's initialisation (arXiv 1502.01852) and zero biases; the paper
    always starts from ImageNet weights.
    """

    def __init__(self, output_stride: int = 8, dilated_pools: bool = False, avg_pool: bool = False) -> None:
        super().__init__()
        plan = AtrousPlan(output_stride)
        in_channels = 3
        for stage, (channels, convolutions) in enumerate(STAGES, start=1):
            for index in range(1, convolutions + 1):
                convolution = nn.Conv2d(in_channels, channels, 3, padding=plan.dilation, dilation=plan.dilation)
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
                nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
                self.add_module(f"conv{stage}_{index}", convolution)
                self.add_module(f"relu{stage}_{index}", nn.ReLU(inplace=True))
                in_channels = channels
            dilation = plan.dilation if dilated_pools else 1
            self.add_module(f"pool{stage}", _max_pool(plan.downsample(2), dilation))
        if avg_pool:
            self.add_module("pool5a", DilatedAveragePool(plan.dilation if dilated_pools else 1))
        self.out_channels = in_channels
        self.output_stride = plan.stride


def _max_pool(stride: int, dilation: int) -> nn.Module:
    if dilation > 1:
        return DilatedMaxPool(dilation)
    return nn.MaxPool2d(3, stride, padding=1, ceil_mode=True)
