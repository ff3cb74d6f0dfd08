"""What a network's weights expect of an image: order of the channels, scale, mean, standard deviation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Channels = Literal["rgb", "bgr"]
Triple = tuple[float, float, float]

# Published ImageNet means differ by up to 0.8 % (122.675 and 123.68), conventions by far more.
RELATIVE_TOLERANCE = 1e-2


@dataclass(frozen=True)
class InputConvention:
    """The network sees (x * scale - mean) / std for x in 0..255; mean and std in the network's own channel order."""

    channels: Channels
    scale: float
    mean: Triple
    std: Triple

    def agrees_with(self, other: "InputConvention") -> bool:
        """Return whether both map every colour to the same values, in whatever units mean and std are written."""
        mine, theirs = self._affine(), other._affine()
        return self.channels == other.channels and all(
            abs(a - b) <= RELATIVE_TOLERANCE * max(abs(a), abs(b)) for a, b in zip(mine, theirs, strict=True)
        )

    def _affine(self) -> list[float]:
        slopes = [self.scale / std for std in self.std]
        offsets = [mean / std for mean, std in zip(self.mean, self.std, strict=True)]
        return slopes + offsets

    def __str__(self) -> str:
        return f"{self.channels.upper()}, scale {self.scale:.6g}, mean {self.mean}, std {self.std}"


class ImageInput(nn.Module):
    """Turn an RGB image (B, 3, h, w), float 0..255, into what the weights expect.

    The authors' networks take channels="bgr", scale=1, mean=(104.008, 116.669, 122.675), std=(1, 1, 1) (released
    prototxt); torchvision's "rgb", 1/255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225).

    Args:
        channels: "rgb" or "bgr", the order the network sees.
        scale: factor of the values 0..255, applied first.
        mean: subtracted then, one number a channel, in the network's order and unit.
        std: divisor then, likewise.

    Raises ValueError for another order, a scale or std that is not positive, or not three numbers.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: Channels, scale: float, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if channels not in ("rgb", "bgr"):
            raise ValueError(f'channels={channels!r}: choose "rgb" or "bgr".')
        if not scale > 0:
            raise ValueError(f"scale={scale}: choose a positive number, 1 for 0..255 or 1/255 for 0..1.")
        if not all(value > 0 for value in std):
            raise ValueError(f"std={tuple(std)}: choose positive numbers, 1 where the weights expect no division.")
        self.convention = InputConvention(channels, float(scale), _triple("mean", mean), _triple("std", std))
        self.register_buffer("mean", torch.tensor(self.convention.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.convention.std).view(3, 1, 1), persistent=False)

    @property
    def pad_rgb(self) -> Triple:
        """The colour, RGB 0..255, that becomes 0: what images are padded with."""
        first, second, third = (mean / self.convention.scale for mean in self.convention.mean)
        return (first, second, third) if self.convention.channels == "rgb" else (third, second, first)

    def forward(self, image: Tensor) -> Tensor:
        x = image if self.convention.channels == "rgb" else image.flip(1)
        return (x * self.convention.scale - self.mean) / self.std

    def extra_repr(self) -> str:
        return str(self.convention)


def _triple(name: str, values: Sequence[float]) -> Triple:
    if len(values) != 3:
        raise ValueError(f"{name}={tuple(values)}: give three numbers, one a channel.")
    first, second, third = (float(value) for value in values)
    return first, second, third
