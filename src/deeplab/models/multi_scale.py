"""Multi-scale inputs: one network on several sizes of the image, fused by the maximum (sections 3.2 and 4.1.2)."""

import functools
import math
from collections.abc import Sequence
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deeplab.models.deeplab import DeepLab
from deeplab.models.image_input import ImageInput

MAX_DENOMINATOR = 16  # of a scale; a finer one would demand pictures on a grid of hundreds of pixels


class MultiScale(nn.Module):
    """Shared weights on scaled copies of the image; image (B, 3, h, w) -> logits (B, K, h/s, w/s).

    As released: images and logits are resized bilinearly with corners aligned (321 -> 241 -> 161), the logits of every
    scale are brought to the size of scale 1, and the fusion is their element-wise maximum.

    Args:
        network: the network that all scales share.
        scales: 1 must be among them.
        align_corners: False resizes with pixel centres aligned, as kazuto1011/deeplab-pytorch does.
        sizes: of the scaled pictures, "corners" (n-1)p + 1: 321 -> 241 -> 161, as released; "rounded_down" np: 321 ->
            240 -> 160, as in that repository.
        native_logits: `scale_logits` gives the logits of every scale at their own size, as in that repository.

    With sizes="corners" pictures must have sides of `size_multiple`*k + 1, so that the grids of all scales end on the
    last pixel; for the default scales and stride 8, 32k+1.
    Raises ValueError for scales without 1, twice the same, or not simple fractions, for other sizes; when called, for
    other sides.
    """

    def __init__(
        self,
        network: DeepLab,
        scales: Sequence[float] = (1.0, 0.75, 0.5),
        align_corners: bool = True,
        sizes: str = "corners",
        native_logits: bool = False,
    ) -> None:
        super().__init__()
        if sizes not in ("corners", "rounded_down"):
            raise ValueError(f'sizes={sizes!r}: choose "corners" or "rounded_down".')
        fractions = [_fraction(scale) for scale in scales]
        if 1 not in fractions or len(set(fractions)) != len(fractions):
            raise ValueError(f"scales={tuple(scales)}: give each scale once, 1 among them.")
        self.network = network
        self.num_classes = network.num_classes
        self.output_stride = network.output_stride
        self.align_corners = align_corners
        self.rounds_down = sizes == "rounded_down"
        self.native_logits = native_logits
        grid = 1 if self.rounds_down else math.lcm(*(scale.denominator for scale in fractions))
        self.size_multiple = network.size_multiple * grid
        self.scales = [scale.as_integer_ratio() for scale in fractions]  # plain integers: torch.compile follows them

    @property
    def input(self) -> ImageInput:
        """The shared network's input convention."""
        return self.network.input

    @property
    def backbone(self) -> nn.Module:
        """The shared network's backbone."""
        return self.network.backbone

    @property
    def head(self) -> nn.Module:
        """The shared network's head."""
        return self.network.head

    def forward(self, image: Tensor) -> Tensor:
        return self.scale_logits(image)["fused"]

    def scale_logits(self, image: Tensor) -> dict[str, Tensor]:
        """Return what the losses are taken on: "fused" and one entry a scale ("x1", "x075", "x05").

        A scale whose logits lie on every n-th pixel keeps its own size (x05 of 321: 21); others, whose labels could not
        be subsampled, are interpolated to the size of scale 1 (x075 of 321: from 31 to 41), as released.
        """
        height, width = image.shape[-2:]
        self._check_size(height, width)
        logits = [self.network(self._scaled(image, up, down)) for up, down in self.scales]
        size = logits[self.scales.index((1, 1))].shape[-2:]
        resized = [self._resize(scores, size) for scores in logits]
        outputs = {"fused": functools.reduce(torch.maximum, resized)}
        for (up, down), at_own_size, at_size_of_1 in zip(self.scales, logits, resized, strict=True):
            is_on_pixels = self.output_stride * down % up == 0
            outputs[_name(up / down)] = at_own_size if is_on_pixels or self.native_logits else at_size_of_1
        return outputs

    def _scaled(self, image: Tensor, up: int, down: int) -> Tensor:
        if not self.rounds_down:
            return self._resize(image, [(side - 1) * up // down + 1 for side in image.shape[-2:]])
        if up == down:
            return image
        # Positions are multiples of 1 / scale, not of the sizes' ratio, which the rounding changes.
        return F.interpolate(image, scale_factor=up / down, mode="bilinear", align_corners=self.align_corners)

    def _resize(self, x: Tensor, size: Sequence[int]) -> Tensor:
        if tuple(x.shape[-2:]) == tuple(size):
            return x
        return F.interpolate(x, size=list(size), mode="bilinear", align_corners=self.align_corners)

    def _check_size(self, height: int, width: int) -> None:
        if self.rounds_down:
            return
        multiple = self.size_multiple
        if (height - 1) % multiple or (width - 1) % multiple:
            padded_height, padded_width = (-(-(side - 1) // multiple) * multiple + 1 for side in (height, width))
            raise ValueError(
                f"picture of {width}x{height}: with multi-scale inputs both sides must be {multiple}*k+1; pad it to "
                f"{padded_width}x{padded_height}."
            )


def _fraction(scale: float) -> Fraction:
    fraction = Fraction(scale).limit_denominator(MAX_DENOMINATOR)
    if fraction <= 0 or not math.isclose(fraction, scale, rel_tol=1e-3):
        raise ValueError(f"scale {scale}: give a positive fraction with a denominator of at most {MAX_DENOMINATOR}.")
    return fraction


def _name(scale: float) -> str:
    return "x" + f"{scale:.4g}".replace(".", "")
