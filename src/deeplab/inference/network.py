"""What inference asks of a network."""

from collections.abc import Iterator
from typing import Any, Protocol

from torch import Tensor, nn


class PadsWithColour(Protocol):
    """A network's own normalisation, as far as padding needs it."""

    @property
    def pad_rgb(self) -> Any:
        """Red, green and blue in 0..255 that become 0 for the weights."""


class SegmentationNetwork(Protocol):
    """Maps RGB pictures in 0..255, float (B, 3, H, W), to logits (B, K, h, w) at its output stride.

    H and W are `size_multiple` * k + 1 (k >= 0); h = (H - 1) / `output_stride` + 1, w likewise.
    """

    @property
    def num_classes(self) -> int:
        """K."""

    @property
    def output_stride(self) -> int:
        """Pixels of the picture between neighbouring logits."""

    @property
    def size_multiple(self) -> int:
        """Padded sizes are this * k + 1."""

    @property
    def input(self) -> PadsWithColour:
        """The normalisation that the weights expect."""

    @property
    def training(self) -> bool:
        """Whether dropout and batch statistics are active."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Weights: their device and type are those of the computation."""

    def __call__(self, image: Tensor) -> Tensor:
        """Compute the logits."""
