from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

PAD_RGB = (123.0, 117.0, 104.0)


class Sampler(nn.Module):
    """Its logits are the picture's own values at the grid points, mixed by a 1x1 convolution: no receptive field."""

    def __init__(self, num_classes: int, stride: int, multiple: int) -> None:
        super().__init__()
        self.num_classes, self.output_stride, self.size_multiple = num_classes, stride, multiple
        self.input = SimpleNamespace(pad_rgb=PAD_RGB)
        self.mix = nn.Conv2d(3, num_classes, 1)
        nn.init.normal_(self.mix.weight, std=0.03)
        self.seen: list[tuple[int, int]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append((image.shape[2], image.shape[3]))
        return self.mix(image[:, :, :: self.output_stride, :: self.output_stride])


class Tiny(Sampler):
    """Three 3x3 convolutions, two of them with stride 2: a logit sees 1 + 2 + 4 pixels to each side of its own.

    An interpolated pixel uses logits less than 4 pixels away, so it sees at most RADIUS pixels to each side.
    """

    RADIUS = 10

    def __init__(self, num_classes: int = 5, multiple: int = 4) -> None:
        super().__init__(num_classes, 4, multiple)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, num_classes, 3, 1, 1)
        )
        for layer in self.body:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append((image.shape[2], image.shape[3]))
        return self.body((image - image.new_tensor(PAD_RGB).view(1, 3, 1, 1)) / 60)


@pytest.fixture
def sampler() -> Callable[..., Sampler]:
    def build(num_classes: int = 5, stride: int = 4, multiple: int = 4) -> Sampler:
        torch.manual_seed(0)
        return Sampler(num_classes, stride, multiple).eval()

    return build


@pytest.fixture
def tiny() -> Tiny:
    torch.manual_seed(0)
    return Tiny().eval()


@pytest.fixture
def picture() -> Callable[[int, int], npt.NDArray[np.uint8]]:
    def draw(height: int, width: int) -> npt.NDArray[np.uint8]:
        return np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), dtype=np.uint8)

    return draw
