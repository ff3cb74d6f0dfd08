"""The permutohedral lattice (Adams, Baek, Davis 2010) in plain torch, on any device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

_LARGEST = 1 << 20  # of an elevated coordinate; float32 stays exact enough far beyond
_TOO_MUCH = "features span too many standard deviations for the torch backend's lattice: raise the standard deviations"


@dataclass(frozen=True)
class TorchLattice:
    """A filter of N pixels through M vertices, in gathers whose sums are done in a fixed order.

    splat_pixel, splat_weight, splat_start: the pixels that add to each vertex, normalisation folded in.
    blur_row, blur_weight: for each blur axis, a vertex with its two neighbours (M, 3); a missing one weighs 0.
    slice_row, slice_weight: the vertices of each pixel (N, F + 1), normalisation folded in.
    """

    splat_pixel: Tensor
    splat_weight: Tensor
    splat_start: Tensor
    blur_row: tuple[Tensor, ...]
    blur_weight: tuple[Tensor, ...]
    slice_row: Tensor
    slice_weight: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """Return the filtered values (N, K) of pixels."""
        rows = _gather(self.splat_pixel, values, self.splat_weight, self.splat_start)
        for row, weight in zip(self.blur_row, self.blur_weight, strict=True):
            rows = _gather(row, rows, weight)
        return _gather(self.slice_row, rows, self.slice_weight)


def build_lattice(features: Tensor, symmetric: bool) -> TorchLattice:
    """Build the lattice of features (F, N) float32, each divided by its standard deviation.

    Raises:
        ValueError: if the features span too many standard deviations for keys of 62 bits.
    """
    dimension, N = features.shape
    # pydensecrf pads the pixels to a multiple of four with features 0, whose vertices exist though nothing is splatted.
    origin = [features.new_zeros(dimension, 1)] if N % 4 else []
    point, rank, weight = _embed(torch.cat([features, *origin], dim=1))
    keys, steps = _keys(point, rank)
    vertices, row = torch.unique(keys, return_inverse=True)
    row, weight = row[:N].int(), weight[:N]
    order = torch.argsort(row.flatten(), stable=True)
    count = torch.bincount(row.flatten(), minlength=len(vertices))
    blur = [_neighbours(vertices, step) for step in steps]
    plain = TorchLattice(
        splat_pixel=torch.div(order, dimension + 1, rounding_mode="floor").int(),
        splat_weight=weight.flatten()[order],
        splat_start=(count.cumsum(0) - count).int(),
        blur_row=tuple(rows for rows, _ in blur),
        blur_weight=tuple(weights for _, weights in blur),
        slice_row=row,
        slice_weight=weight * float(np.float32(1) / (np.float32(1) + np.float32(2) ** -dimension)),
    )
    return _normalised(plain, symmetric)


def _normalised(plain: TorchLattice, symmetric: bool) -> TorchLattice:
    N = len(plain.slice_row)
    sums = plain(plain.slice_weight.new_ones(N, 1))[:, 0].double() + 1e-20
    after = (1 / (sums.sqrt() if symmetric else sums)).float()
    splat_weight = plain.splat_weight * after[plain.splat_pixel.long()] if symmetric else plain.splat_weight
    return TorchLattice(
        plain.splat_pixel,
        splat_weight,
        plain.splat_start,
        plain.blur_row,
        plain.blur_weight,
        plain.slice_row,
        plain.slice_weight * after[:, None],
    )


def _gather(row: Tensor, values: Tensor, weight: Tensor, start: Tensor | None = None) -> Tensor:
    # embedding_bag sums weighted rows without a copy of them, on any device and always in the same order.
    result: Tensor = embedding_bag(row, values, start, mode="sum", per_sample_weights=weight)
    return result


def _embed(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the simplex around each pixel: its first vertex, the order of steps to the others, barycentric weights.

    Which vertices exist is decided by how float32 rounds here: the operations come one by one, in pydensecrf's order.
    Returns point (N, F) int64 in steps along the first F blur axes, rank (N, F + 1) int64, weight (N, F + 1).
    """
    d, N = features.shape
    deviation = float(np.float32(math.sqrt(2 / 3) * (d + 1)))
    elevated = features.new_empty(d + 1, N)
    total = features.new_zeros(N)
    for j in range(d, 0, -1):
        scaled = features[j - 1] * float(np.float32(1 / math.sqrt((j + 1) * j) * deviation))
        elevated[j] = total - j * scaled
        total = total + scaled
    elevated[0] = total
    if not bool((elevated.abs() < _LARGEST).all()):
        raise ValueError(_TOO_MUCH)
    down = float(np.float32(1) / np.float32(d + 1))
    multiple = torch.round(elevated * down)
    remainder = multiple * (d + 1)
    rank = multiple.sum(dim=0).long().expand(d + 1, N).clone()
    offset = elevated - remainder
    for i in range(d):
        for j in range(i + 1, d + 1):
            less = offset[i] < offset[j]
            rank[i] += less
            rank[j] += ~less
    turn = (rank < 0).long() - (rank > d).long()
    rank += turn * (d + 1)
    multiple = multiple.long() + turn
    offset = (elevated - (remainder + turn * (d + 1))) * down
    spread = torch.empty_like(offset).scatter_(0, rank, offset)
    weight = torch.empty_like(offset)
    weight[0] = spread[d] + (1 - spread[0])
    for t in range(1, d + 1):
        weight[t] = spread[d - t] - spread[d - t + 1]
    return (multiple[:d] - multiple[d]).T.contiguous(), rank.T.contiguous(), weight.T.contiguous()


def _keys(point: Tensor, rank: Tensor) -> tuple[Tensor, list[int]]:
    """Number the lattice points so that a step along a blur axis is an addition.

    Returns the keys (N, F + 1) of the pixels' vertices, and the step along each of the F + 1 axes.
    """
    low = point.amin(dim=0) - 3  # the simplex lies within one step, and its neighbours one further
    spans = [int(s) for s in point.amax(dim=0) + 3 - low + 1]
    if math.prod(spans) >= 1 << 62:
        raise ValueError(_TOO_MUCH)
    steps = [math.prod(spans[:i]) for i in range(len(spans))]
    steps.append(-sum(steps))
    step = torch.tensor(steps, device=point.device)
    first = ((point - low) * step[:-1]).sum(dim=1, keepdim=True)
    by_rank = torch.empty_like(rank).scatter_(1, rank, step.expand_as(rank))
    back = by_rank[:, 1:].flip(1).cumsum(dim=1)
    return torch.cat([first, first - back], dim=1), steps


def _neighbours(vertices: Tensor, step: int) -> tuple[Tensor, Tensor]:
    here = torch.arange(len(vertices), device=vertices.device)
    rows, weights = [here], [torch.ones(len(vertices), dtype=torch.float32, device=vertices.device)]
    for wanted in (vertices - step, vertices + step):
        at = torch.searchsorted(vertices, wanted).clamp_(max=len(vertices) - 1)
        exists = vertices[at] == wanted
        rows.append(torch.where(exists, at, here))
        weights.append(0.5 * exists.float())
    return torch.stack(rows, dim=1).int(), torch.stack(weights, dim=1)
