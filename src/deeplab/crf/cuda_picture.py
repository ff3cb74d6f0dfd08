"""Pictures on the device: checked there, and what the approximations make of them (approximations.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deeplab.crf.approximations import LEAST
from deeplab.crf.cuda_lattice import PixelSource
from deeplab.crf.kernels import BilateralKernel, FeatureKernel, Kernel, SpatialKernel, features, features_fit
from deeplab.crf.params import CRFParams
from deeplab.crf.problem import check_compatibility, image_fits, initial_fits, numpy_image, numpy_scores, scores_fit
from deeplab.crf.unary import CLIP, check_range, check_scores


@dataclass(frozen=True, eq=False)
class CudaPicture:
    """Scores (K, H, W) float32, image (H, W, 3) uint8 or None, marginals to start from or None; labels: take part."""

    scores: Tensor
    image: Tensor | None
    kernels: tuple[Kernel, ...]
    params: CRFParams
    initial: Tensor | None
    labels: tuple[int, ...]


def make_picture(
    scores: Any, image: Any, params: CRFParams, kernels: tuple[Kernel, ...], initial: Any, device: torch.device
) -> CudaPicture:
    """Check shapes and types of one picture, and bring to the device what is not there.

    Raises:
        ValueError: as `make_problem` does.
    """
    checked = _scores(scores, "scores", device)
    check_compatibility(params, checked.shape[0])
    picture = None if image is None else _image(image, checked.shape[1:], device)
    if picture is None and any(isinstance(kernel, BilateralKernel) for kernel in kernels):
        raise ValueError("a bilateral kernel needs the image: pass it, or set bilateral_weight to 0")
    begin = None if initial is None else _scores(initial, "initial", device)
    if begin is not None:
        initial_fits(tuple(begin.shape), tuple(checked.shape), bool(torch.isfinite(begin).all()))
    return CudaPicture(checked, picture, kernels, params, begin, tuple(range(len(checked))))


def _scores(given: Any, name: str, device: torch.device) -> Tensor:
    if not isinstance(given, Tensor):
        return torch.from_numpy(np.require(numpy_scores(given, name), requirements=["W"])).to(device)
    scores_fit(tuple(given.shape), str(given.dtype), given.dtype.is_floating_point)
    return given.detach().to(device, torch.float32).contiguous()


def _image(given: Any, shape: Sequence[int], device: torch.device) -> Tensor:
    size = (int(shape[0]), int(shape[1]))
    if not isinstance(given, Tensor):
        return torch.from_numpy(np.require(numpy_image(given, size), requirements=["W"])).to(device)
    image_fits(tuple(given.shape), str(given.dtype), given.dtype == torch.uint8, size)
    return given.detach().to(device).contiguous()


def check_values(pictures: Sequence[CudaPicture]) -> None:
    """Reject NaN, infinity and probabilities outside 0..1; two numbers of each picture are read, all at once.

    Raises:
        ValueError: naming one such value and where it is.
    """
    bounds = torch.stack([torch.stack(torch.aminmax(picture.scores.flatten())) for picture in pictures])
    for picture, (lowest, highest) in zip(pictures, bounds.tolist(), strict=True):
        if not check_range(lowest, highest, picture.params.unary):
            check_scores(picture.scores.cpu().numpy(), picture.params.unary)


def pixel_source(kernel: Kernel, picture: CudaPicture) -> PixelSource:
    """What the kernel's features are made of.

    Raises:
        ValueError: for given features of another size, NaN or infinity.
    """
    _, H, W = picture.scores.shape
    if not isinstance(kernel, FeatureKernel):
        return PixelSource(H, W, picture.image if isinstance(kernel, BilateralKernel) else None)
    device = picture.scores.device
    if isinstance(kernel.features, Tensor):
        given = kernel.features.detach().to(device, torch.float32)
        features_fit(tuple(given.shape), (H, W), bool(torch.isfinite(given).all()))
        given = given.reshape(len(given), -1).contiguous()
    else:
        given = torch.from_numpy(features(kernel, (H, W), None)).to(device)
    ranges = torch.stack(torch.aminmax(given, dim=1), dim=1).tolist()
    return PixelSource(H, W, None, given, tuple((low, high) for low, high in ranges))


def pruned(picture: CudaPicture) -> CudaPicture:
    """Leave out the labels whose probability is below `prune_below` everywhere; the most probable one stays."""
    probs = torch.softmax(picture.scores, dim=0) if picture.params.unary == "logits" else picture.scores
    highest = probs.flatten(1).amax(dim=1).cpu().numpy()
    threshold = min(np.float32(picture.params.prune_below), highest.max())
    return replace(picture, labels=tuple(int(k) for k in np.flatnonzero(highest >= threshold)))


def halved(picture: CudaPicture) -> CudaPicture:
    """Return the picture on means of 2 x 2 pixels, standard deviations in pixels halved."""
    image = picture.image
    if image is not None:
        image = torch.round(_means(image.permute(2, 0, 1).float())).to(torch.uint8).permute(1, 2, 0).contiguous()
    return replace(
        picture,
        scores=_means(picture.scores),
        image=image,
        kernels=tuple(_halved_kernel(kernel, picture.scores) for kernel in picture.kernels),
        initial=None if picture.initial is None else _means(picture.initial),
    )


def enlarged(small: CudaPicture, marginals: Tensor, picture: CudaPicture) -> Tensor:
    """Join what the neighbours say at half the size with the evidence at full size: marginals (K, H, W)."""
    kept = torch.tensor(picture.labels, device=marginals.device)
    messages = torch.log(marginals[kept].clamp(min=LEAST)) + _energy(small.scores[kept], small.params.unary)
    _, H, W = picture.scores.shape
    energy = _energy(picture.scores[kept], picture.params.unary)
    energy -= _doubled(_doubled(messages, 1)[:, :H], 2)[:, :, :W]
    return torch.zeros_like(picture.scores).index_copy_(0, kept, torch.softmax(-energy, dim=0))


def _energy(scores: Tensor, kind: str) -> Tensor:
    return -scores if kind == "logits" else -torch.log(scores.clamp(float(CLIP), 1))


def _halved_kernel(kernel: Kernel, scores: Tensor) -> Kernel:
    if isinstance(kernel, FeatureKernel):
        given = torch.as_tensor(kernel.features, device=scores.device).detach().float()
        # Halves are as large of one row or column more or less.
        features_fit(tuple(given.shape), (scores.shape[1], scores.shape[2]), bool(torch.isfinite(given).all()))
        return FeatureKernel(kernel.weight, _means(given))
    if isinstance(kernel, BilateralKernel):
        return BilateralKernel(kernel.weight, kernel.xy_std / 2, kernel.rgb_std)
    return SpatialKernel(kernel.weight, kernel.xy_std / 2)


def _means(planes: Tensor) -> Tensor:
    """Return means of 2 x 2 pixels of (C, H, W); an odd last row or column counts twice."""
    _, H, W = planes.shape
    rows = torch.arange(0, H + H % 2, device=planes.device).clamp_(max=H - 1)
    columns = torch.arange(0, W + W % 2, device=planes.device).clamp_(max=W - 1)
    sums = planes[:, rows[0::2]] + planes[:, rows[1::2]]
    return ((sums[:, :, columns[0::2]] + sums[:, :, columns[1::2]]) * 0.25).contiguous()


def _doubled(planes: Tensor, axis: int) -> Tensor:
    """Interpolate (C, H, W) linearly to twice its size along an axis, centres at a quarter and three quarters."""
    moved = planes.movedim(axis, 0)
    near, far = moved * 0.75, moved * 0.25
    result = near.repeat_interleave(2, dim=0)
    result[2::2] += far[:-1]
    result[0] += far[0]
    result[1:-1:2] += far[1:]
    result[-1] += far[-1]
    return result.movedim(0, axis)
