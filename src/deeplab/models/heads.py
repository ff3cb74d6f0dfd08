"""Heads: features (B, C, h, w) -> logits (B, num_classes, h, w) (section 3.2, Figures 4 and 7).

The authors released two forms under the same names. On VGG-16 every branch is the network's fully connected part made
convolutional (fc6, fc7, fc8): `LargeFOV`, `ASPP`. On ResNet a branch is one dilated classifier that acts directly on
the features: `DirectLargeFOV`, `DirectASPP`; also what we use on MobileNetV2.
"""

from collections.abc import Sequence

from torch import Tensor, nn

CLASSIFIER_STD = 0.01  # of the Gaussian that classifiers start from, as released


def same_padding(kernel_size: int, rate: int) -> int:
    """Return the padding that keeps the size: rate * (kernel_size - 1) / 2.

    Raises ValueError where that is no integer (an even kernel with an odd rate).
    """
    total = rate * (kernel_size - 1)
    if kernel_size < 1 or rate < 1 or total % 2:
        raise ValueError(
            f"kernel_size={kernel_size}, rate={rate}: no padding keeps the size, choose positive numbers and an even "
            "rate for an even kernel."
        )
    return total // 2


def _classifier(in_channels: int, num_classes: int, kernel_size: int = 1, rate: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(in_channels, num_classes, kernel_size, padding=same_padding(kernel_size, rate), dilation=rate)
    nn.init.normal_(layer.weight, std=CLASSIFIER_STD)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _hidden(in_channels: int, out_channels: int, kernel_size: int = 1, rate: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, padding=same_padding(kernel_size, rate), dilation=rate)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _sum(branches: nn.ModuleList, features: Tensor) -> Tensor:
    first, *others = branches
    total: Tensor = first(features)
    for branch in others:
        total = total + branch(features)
    return total


def _at_least_one(rates: Sequence[int]) -> Sequence[int]:
    if not rates:
        raise ValueError(f"rates={rates}: ASPP needs at least one rate.")
    return rates


class LargeFOV(nn.Module):
    """fc6 (dilated) -> ReLU -> dropout -> fc7 (1x1) -> ReLU -> dropout -> fc8 (1x1), as on VGG-16.

    The defaults are DeepLab-LargeFOV; Table 1's other rows are kernel_size 7 rate 4, 4 rate 4 and 4 rate 8, each with
    4096 hidden channels. Dropout is element-wise.

    The paper takes fc6 and fc7 from the ImageNet VGG-16; where no weights are loaded they start from He's
    initialisation (arXiv 1502.01852). fc8 starts from a Gaussian of standard deviation 0.01, biases from 0.
    Raises ValueError for a kernel size and rate whose output cannot keep the size.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        rate: int = 12,
        kernel_size: int = 3,
        hidden_channels: int = 1024,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.fc6 = _hidden(in_channels, hidden_channels, kernel_size, rate)
        self.fc7 = _hidden(hidden_channels, hidden_channels)
        self.fc8 = _classifier(hidden_channels, num_classes)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        x = self.dropout(self.relu(self.fc6(features)))
        x = self.dropout(self.relu(self.fc7(x)))
        logits: Tensor = self.fc8(x)
        return logits


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling as on VGG-16: the sum of one `LargeFOV` branch a rate.

    ASPP-S has rates (2, 4, 8, 12), ASPP-L (6, 12, 18, 24) (section 4.1.2); the other arguments, the initialisation
    and the errors are those of `LargeFOV`.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        rates: Sequence[int] = (6, 12, 18, 24),
        kernel_size: int = 3,
        hidden_channels: int = 1024,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            LargeFOV(in_channels, num_classes, rate, kernel_size, hidden_channels, dropout)
            for rate in _at_least_one(rates)
        )

    def forward(self, features: Tensor) -> Tensor:
        return _sum(self.branches, features)


class Classifier(nn.Module):
    """One 1x1 convolution: the plain DeepLab of Table 4 (that it is 1x1 is our reading; the paper does not say)."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.fc = _classifier(in_channels, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.fc(features)
        return logits


class DirectLargeFOV(nn.Module):
    """One dilated convolution as classifier: LargeFOV as on ResNet-101 (section 4.1.2)."""

    def __init__(self, in_channels: int, num_classes: int, rate: int = 12, kernel_size: int = 3) -> None:
        super().__init__()
        self.fc = _classifier(in_channels, num_classes, kernel_size, rate)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.fc(features)
        return logits


class DirectASPP(nn.Module):
    """The sum of one dilated classifier a rate: ASPP as on ResNet-101 (no hidden layers, no dropout)."""

    def __init__(
        self, in_channels: int, num_classes: int, rates: Sequence[int] = (6, 12, 18, 24), kernel_size: int = 3
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            _classifier(in_channels, num_classes, kernel_size, rate) for rate in _at_least_one(rates)
        )

    def forward(self, features: Tensor) -> Tensor:
        return _sum(self.branches, features)
