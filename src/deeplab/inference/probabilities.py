"""From a picture to class probabilities and labels: the one way in which every command asks a network."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deeplab.errors import InputError
from deeplab.inference.network import SegmentationNetwork
from deeplab.inference.tiles import Block, Span, blend, cut
from deeplab.inference.views import view_logits, window_of

Image = Tensor | npt.NDArray[np.uint8]


class Inference:
    """Class probabilities of pictures of any size, at the picture's own resolution.

    The picture is padded at the bottom and the right with the colour that the network maps to 0, to the next size
    that fits its grid; logits are enlarged bilinearly by the output stride (section 3.1) with their corners on
    pixels, as the authors' Interp layer does, then cropped to the picture, then softmax.

    Args:
        scales: sizes at which the picture is shown to the network, 1 being its own. Pictures are resized bilinearly
            without smoothing, as in training. Probabilities are averaged over scales and mirror images, not logits:
            each view then has one vote however peaked its logits are, and the mean is what the CRF takes. The
            paper's multi-scale inputs (maximum of logits, trained jointly) are a part of the network, not this.
        flip: show the mirror image too.
        align_corners: False serves foreign weights: no padding, and logits are stretched to the picture with pixel
            centres aligned, which shifts them by up to half the output stride against the authors' geometry.
        max_pixels: pictures with more pixels (height x width) go in tiles.
        tile: largest side of a tile in pixels.
        overlap: least overlap of neighbouring tiles in pixels; 3/8 of it on each side are not used, the quarter in
            between is blended.

    Raises:
        InputError: a setting is out of range.
    """

    def __init__(
        self,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        align_corners: bool = True,
        max_pixels: int = 2_100_000,
        tile: int = 1025,
        overlap: int = 256,
    ) -> None:
        if not scales or not all(0 < scale <= 8 for scale in scales):
            raise InputError(f"inference.scales={list(scales)}: give at least one scale, each above 0 and at most 8.")
        if max_pixels < 1:
            raise InputError(f"inference.max_pixels={max_pixels}: must be at least 1.")
        if tile < 1:
            raise InputError(f"inference.tile={tile}: must be at least 1.")
        if not 0 <= overlap < tile:
            raise InputError(f"inference.overlap={overlap}: must be at least 0 and less than inference.tile={tile}.")
        self.scales = tuple(float(scale) for scale in scales)
        self.flip = flip
        self.align_corners = align_corners
        self.max_pixels = max_pixels
        self.tile = tile
        self.overlap = overlap

    @torch.no_grad()
    def probabilities(self, network: SegmentationNetwork, image: Image) -> Tensor:
        """Return probabilities, float32 (K, H, W), on the network's device, for RGB uint8 (H, W, 3).

        A picture over `max_pixels` still costs K x H x W floats here; `labels` does not.

        Raises ValueError for a network in training mode or an image of another shape or type, InputError for scores
        that are not finite.
        """
        picture = _checked(network, image)
        height, width = picture.shape[:2]
        whole: Tensor | None = None
        for top, left, block in self._blocks(network, picture):
            if block.shape[1] >= height and block.shape[2] >= width:
                return block[:, :height, :width].contiguous()
            if whole is None:
                whole = block.new_empty((block.shape[0], height, width))
            visible = block[:, : height - top, : width - left]
            whole[:, top : top + visible.shape[1], left : left + visible.shape[2]] = visible
        assert whole is not None
        return whole

    @torch.no_grad()
    def labels(self, network: SegmentationNetwork, image: Image) -> Tensor:
        """Return the most probable class of each pixel, (H, W) on the network's device, for RGB uint8 (H, W, 3).

        uint8, or int16 for more than 256 classes. Tiles are reduced to labels one by one.

        Raises ValueError for a network in training mode or an image of another shape or type, InputError for scores
        that are not finite.
        """
        picture = _checked(network, image)
        height, width = picture.shape[:2]
        dtype = torch.uint8 if network.num_classes <= 256 else torch.int16
        labels = torch.empty((height, width), dtype=dtype, device=next(network.parameters()).device)
        for top, left, block in self._blocks(network, picture):
            visible = block[:, : height - top, : width - left]
            # max, not argmax: three times as fast on a CPU along the first axis, and it too takes the first of equals.
            best = visible.max(dim=0).indices.to(dtype)
            labels[top : top + best.shape[0], left : left + best.shape[1]] = best
        return labels

    def _blocks(self, network: SegmentationNetwork, picture: Tensor) -> Iterator[Block]:
        """Yield the picture's probabilities, in one block or, above `max_pixels`, in many; the padding included."""
        height, width = picture.shape[:2]
        tiled = height * width > self.max_pixels
        rows = self._spans(height, network.size_multiple, tiled)
        columns = self._spans(width, network.size_multiple, tiled)

        def predict(row: Span, column: Span) -> Tensor:
            window = window_of(picture, slice(*row), slice(*column), network)
            return self._window_probabilities(network, window)

        return blend(rows, columns, self.overlap, predict)

    def _spans(self, length: int, multiple: int, tiled: bool) -> list[Span]:
        """Return the tiles' pixels along one axis; all start on a multiple, all have a size the network takes."""
        shared = 1 if self.align_corners else 0  # neighbouring cells share their corner pixels, or share none
        cells = -(-(length - shared) // multiple)
        spans = [Span(0, cells)]
        if tiled:
            # Whatever the network's grid, a tile goes at least one cell beyond the overlap.
            overlap = -(-self.overlap // multiple)
            spans = cut(cells, max((self.tile - shared) // multiple, overlap + 1), overlap)
        padded = cells * multiple + shared if self.align_corners else length
        return [Span(start * multiple, min(stop * multiple + shared, padded)) for start, stop in spans]

    def _window_probabilities(self, network: SegmentationNetwork, window: Tensor) -> Tensor:
        """Average over scales and mirror images: (1, 3, h, w) in 0..255 -> (K, h, w) float32."""
        views = [(scale, mirrored) for scale in self.scales for mirrored in ((False, True) if self.flip else (False,))]
        total: Tensor | None = None
        for scale, mirrored in views:
            probabilities = view_logits(network, window, scale, mirrored, self.align_corners).softmax(dim=0)
            total = probabilities if total is None else total.add_(probabilities)
        assert total is not None  # __init__ refuses an empty list of scales
        if not total[0].isfinite().all():  # a softmax with one score that is not finite is NaN in all classes
            raise InputError(
                "The network's scores are NaN or infinite: its training diverged, or a precision of 16 bits does not "
                "hold them; train at a lower rate, or set trainer.precision=32-true."
            )
        return total if len(views) == 1 else total.div_(len(views))


def _checked(network: SegmentationNetwork, image: Image) -> Tensor:
    if network.training:
        raise ValueError("The network is in training mode, dropout and batch statistics would act: call eval() first.")
    # from_numpy wants a writable array without negative strides; most already are, and are not copied.
    picture = image if isinstance(image, Tensor) else torch.from_numpy(np.require(image, requirements=["C", "W"]))
    if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.numel() == 0:
        raise ValueError(f"An image is RGB uint8 (H, W, 3), got {picture.dtype} {tuple(picture.shape)}.")
    return picture
