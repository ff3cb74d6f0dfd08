"""One look of the network at one window of a picture: a scale, mirrored or not."""

import torch
import torch.nn.functional as F
from torch import Tensor

from deeplab.inference.network import SegmentationNetwork


def window_of(picture: Tensor, height: slice, width: slice, network: SegmentationNetwork) -> Tensor:
    """Cut a window, (H, W, 3) uint8 -> float32 (1, 3, h, w) in 0..255 on the network's device.

    Where the window leaves the picture (at the bottom and the right) it shows the network's padding colour.
    """
    piece = picture[height, width].to(next(network.parameters()).device)
    window = _colour(network, piece.device).repeat(1, 1, height.stop - height.start, width.stop - width.start)
    window[0, :, : piece.shape[0], : piece.shape[1]] = piece.permute(2, 0, 1)
    return window


def view_logits(
    network: SegmentationNetwork, window: Tensor, scale: float, mirrored: bool, align_corners: bool
) -> Tensor:
    """Return the logits of one view at the window's size: (1, 3, h, w) in 0..255 -> float32 (K, h, w).

    With `align_corners`, pixels 0 and h - 1 of the window are pixels 0 and scale * (h - 1), rounded, of the view, which
    is padded to a size of the network's grid before it is mirrored, so that mirrored logits lie on the same pixels.
    Without, the view's borders are the window's borders and nothing is padded.

    Raises ValueError if the network's logits do not have the shape that its grid says.
    """
    size = window.shape[-2:]
    view = window if scale == 1 else _resized(window, [_scaled(n, scale, align_corners) for n in size], align_corners)
    view_size = view.shape[-2:]
    if align_corners:
        view = _padded(view, network)
    logits = network((view.flip(-1) if mirrored else view).to(next(network.parameters()).dtype)).float()
    if mirrored:
        logits = logits.flip(-1)
    if not align_corners:
        return _resized(logits, list(size), False)[0]
    _check_grid(network, view, logits)
    stride = network.output_stride
    logits = _resized(logits, [(n - 1) * stride + 1 for n in logits.shape[-2:]], True)
    logits = logits[..., : view_size[0], : view_size[1]]
    return (logits if scale == 1 else _resized(logits, list(size), True))[0]


def _scaled(length: int, scale: float, align_corners: bool) -> int:
    return round((length - 1) * scale) + 1 if align_corners else max(1, round(length * scale))


def _resized(x: Tensor, size: list[int], align_corners: bool) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)


def _colour(network: SegmentationNetwork, device: torch.device) -> Tensor:
    return torch.tensor(tuple(network.input.pad_rgb), dtype=torch.float32, device=device).view(1, 3, 1, 1)


def _padded(view: Tensor, network: SegmentationNetwork) -> Tensor:
    multiple = network.size_multiple
    height, width = view.shape[-2:]
    padded = [-(-(n - 1) // multiple) * multiple + 1 for n in (height, width)]
    if padded == [height, width]:
        return view
    canvas = _colour(network, view.device).repeat(1, 1, *padded)
    canvas[..., :height, :width] = view
    return canvas


def _check_grid(network: SegmentationNetwork, view: Tensor, logits: Tensor) -> None:
    expected = (1, network.num_classes, *((n - 1) // network.output_stride + 1 for n in view.shape[-2:]))
    if tuple(logits.shape) != expected:
        raise ValueError(
            f"The network gave logits {tuple(logits.shape)} for a picture {tuple(view.shape)} where its output stride "
            f"of {network.output_stride} and its {network.num_classes} classes promise {expected}."
        )
