"""One permutohedral lattice for a batch of pictures, built on the device: the picture is the leading digit of a key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deeplab.crf import cuda_kernels as kernels
from deeplab.crf.cuda_launch import launch, launch_rows
from deeplab.crf.kernels import BilateralKernel, FeatureKernel, Kernel

_LARGEST = 1 << 20  # of an elevated coordinate; float32 stays exact enough far beyond
_KEY_BITS = 62
_PART = 32  # taps that one program adds up; vertices with more are summed in parts, and the parts after
TOO_MUCH = (
    "features span too many standard deviations for the cuda backend's lattice: "
    "raise the standard deviations, or choose backend='native'"
)


@dataclass(frozen=True)
class KeyPlan:
    """How lattice points become numbers, so that a step along a blur axis is an addition.

    scale: what turns each feature into lattice units. step: of the F + 1 blur axes. start: of the origin, by picture.
    """

    scale: npt.NDArray[np.float32]
    step: tuple[int, ...]
    start: tuple[int, ...]


def plan_keys(ranges: Sequence[tuple[float, float]], num_pictures: int) -> KeyPlan | None:
    """Return the plan for features in these ranges, or None if their keys would not fit.

    Raises:
        ValueError: if one picture's would not.
    """
    d = len(ranges)
    deviation = float(np.float32(math.sqrt(2 / 3) * (d + 1)))
    scale = np.array([np.float32(1 / math.sqrt((j + 2) * (j + 1)) * deviation) for j in range(d)], dtype=np.float32)
    wide = [(min(low, 0.0), max(high, 0.0)) for low, high in ranges]  # pydensecrf's padding lies at the origin
    lows, spans = [], []
    for i in range(d + 1):
        low, high = _elevated_span(scale, wide, i, relative=False)
        if not (low > -_LARGEST and high < _LARGEST):
            raise ValueError(TOO_MUCH)
        if i < d:
            # A pixel's simplex lies within 4 steps, and a neighbour one further.
            low, high = _elevated_span(scale, wide, i, relative=True)
            lows.append(math.floor(low / (d + 1)) - 6)
            spans.append(math.ceil(high / (d + 1)) + 6 - lows[-1] + 1)
    a_picture = math.prod(spans)
    if a_picture >= 1 << _KEY_BITS:
        raise ValueError(TOO_MUCH)
    if a_picture * num_pictures >= 1 << _KEY_BITS:
        return None
    step = [math.prod(spans[:i]) for i in range(d)]
    origin = -sum(low * unit for low, unit in zip(lows, step, strict=True))
    return KeyPlan(scale, (*step, -sum(step)), tuple(origin + b * a_picture for b in range(num_pictures)))


def _elevated_span(
    scale: npt.NDArray[np.float32], ranges: Sequence[tuple[float, float]], i: int, relative: bool
) -> tuple[float, float]:
    """The span of the elevated coordinate i minus, if relative, the last one."""
    d = len(ranges)

    def coefficient(coordinate: int, f: int) -> float:
        return 1.0 if coordinate <= f else -float(coordinate) if coordinate == f + 1 else 0.0

    ends = []
    for f, (low, high) in enumerate(ranges):
        factor = (coefficient(i, f) - (coefficient(d, f) if relative else 0.0)) * float(scale[f])
        ends.append(sorted((factor * low, factor * high)))
    return sum(low for low, _ in ends), sum(high for _, high in ends)


@dataclass(frozen=True)
class CudaLattice:
    """A filter of N pixels through M vertices; gathers whose sums are done in a fixed order.

    splat_pixel, splat_weight: the pixels that add to the vertices, one vertex after the other, normalisation folded in.
    begin, end: which of them add to each vertex; none for a crowded one. parts: (begin, end) of the parts of crowded
    vertices; crowded, part_begin, part_end: these vertices and their parts.
    following, previous: the neighbours along each of the F + 1 blur axes (F + 1, M), -1 where there is none.
    slice_row, slice_weight: the vertices of each pixel (N, F + 1), normalisation folded in.
    """

    splat_pixel: Tensor
    splat_weight: Tensor
    begin: Tensor
    end: Tensor
    parts: tuple[Tensor, Tensor]
    crowded: Tensor
    part_begin: Tensor
    part_end: Tensor
    following: Tensor
    previous: Tensor
    slice_row: Tensor
    slice_weight: Tensor

    @property
    def num_vertices(self) -> int:
        """M."""
        return len(self.begin)

    @property
    def taps(self) -> int:
        """Vertices of a pixel, F + 1; also the number of blur axes."""
        return self.slice_row.shape[1]

    def rows(self, values: Tensor) -> Tensor:
        """Splat the pixels' values (N, S) and blur them: the vertices' values (M, S)."""
        rows = self.splat(values)
        other = torch.empty_like(rows)
        for axis in range(self.taps):
            self.blur(rows, other, axis)
            rows, other = other, rows
        return rows

    def splat(self, values: Tensor) -> Tensor:
        """Add the pixels' values (N, S) to their vertices: (M, S)."""
        S = values.shape[1]
        rows = values.new_empty(self.num_vertices, S)
        taps = (self.splat_pixel, self.splat_weight)
        _add_up(values, *taps, self.begin, self.end, rows)
        if len(self.crowded):
            partial = values.new_empty(len(self.parts[0]), S)
            _add_up(values, *taps, *self.parts, partial)
            _add_up(partial, None, None, self.part_begin, self.part_end, rows, self.crowded)
        return rows

    def blur(self, rows: Tensor, out: Tensor, axis: int) -> None:
        """Blur the vertices' values (M, S) along an axis into `out`."""
        M, S = rows.shape
        neighbours = (self.previous[axis], self.following[axis])
        launch_rows(kernels.blur, M, S, rows, out, *neighbours, M)


def _add_up(
    values: Tensor,
    index: Tensor | None,
    weight: Tensor | None,
    begin: Tensor,
    end: Tensor,
    out: Tensor,
    target: Tensor | None = None,
) -> None:
    listed = {"LISTED": index is not None, "TARGETS": target is not None}
    # An argument that is not used must still be a tensor.
    tensors = (begin if index is None else index, values if weight is None else weight, begin, end)
    into = begin if target is None else target
    launch_rows(kernels.add_up, len(begin), values.shape[1], values, *tensors, into, out, len(begin), **listed)


@dataclass(frozen=True, eq=False)
class PixelSource:
    """What a kernel's features are made of in one picture: its size, image (spatial: None), given features (F, N)."""

    height: int
    width: int
    image: Tensor | None
    given: Tensor | None = None
    ranges: tuple[tuple[float, float], ...] = ()

    @property
    def num_pixels(self) -> int:
        """Height times width."""
        return self.height * self.width


def feature_ranges(kernel: Kernel, sources: Sequence[PixelSource]) -> list[tuple[float, float]]:
    """The smallest and largest value of each feature; of x, y and colours without a look at the pictures."""
    if isinstance(kernel, FeatureKernel):
        by_feature = zip(*(source.ranges for source in sources), strict=True)
        return [(min(low for low, _ in each), max(high for _, high in each)) for each in by_feature]
    xy = [(max(s.width for s in sources) - 1) / kernel.xy_std, (max(s.height for s in sources) - 1) / kernel.xy_std]
    rgb = [255 / kernel.rgb_std] * 3 if isinstance(kernel, BilateralKernel) else []
    return [(0.0, largest) for largest in (*xy, *rgb)]


def build_lattice(
    kernel: Kernel, sources: Sequence[PixelSource], plan: KeyPlan, symmetric: bool, device: Any
) -> CudaLattice:
    """Build the lattice of a kernel for pictures whose pixels lie one after the other."""
    keys, weights = _embedded(kernel, sources, plan, device)
    N, taps = len(weights), len(plan.step)
    ordered, order = torch.sort(keys, stable=True)
    del keys
    new = torch.ones(len(ordered), dtype=torch.bool, device=device)
    torch.ne(ordered[1:], ordered[:-1], out=new[1:])
    vertex = torch.cumsum(new, 0, dtype=torch.int32)  # counted from 1
    first = torch.nonzero(new)[:, 0]  # here the host learns how many vertices there are
    vertices = ordered[first]
    del ordered, new
    slice_row = torch.empty(N, taps, dtype=torch.int32, device=device)
    splat_pixel = torch.empty(len(order), dtype=torch.int32, device=device)
    splat_weight = torch.empty(len(order), dtype=torch.float32, device=device)
    shared = (slice_row, splat_pixel, splat_weight, len(order), N * taps)
    launch(kernels.list_taps, len(order), 1, order, vertex, weights, *shared, TAPS=taps)
    del order, vertex
    begin = first.int()
    end = torch.cat([begin[1:], begin.new_full((1,), len(splat_pixel))])
    following, previous = _linked(vertices, plan.step)
    lattice = CudaLattice(splat_pixel, splat_weight, *_divided(begin, end), following, previous, slice_row, weights)
    return _normalised(lattice, symmetric)


def _embedded(kernel: Kernel, sources: Sequence[PixelSource], plan: KeyPlan, device: Any) -> tuple[Tensor, Tensor]:
    """Keys of all taps, those of pydensecrf's padding at the end, and the weights (N, F + 1) of the pixels."""
    d, taps = len(plan.scale), len(plan.step)
    N = sum(source.num_pixels for source in sources)
    padded = [start for start, source in zip(plan.start, sources, strict=True) if source.num_pixels % 4]
    # The simplex of the origin: its axes are ranked in their order.
    back = np.concatenate([[0], np.cumsum(plan.step[:0:-1])])
    extra = np.array([start - step for start in padded for step in back], dtype=np.int64)
    keys = torch.empty(N * taps + len(extra), dtype=torch.int64, device=device)
    keys[N * taps :] = torch.from_numpy(extra).to(device)
    weights = torch.empty(N, taps, dtype=torch.float32, device=device)
    tables = [torch.from_numpy(table).to(device) for table in _tables(kernel, sources)]
    scales = torch.from_numpy(plan.scale).to(device)
    steps, starts = torch.tensor(plan.step, device=device), torch.tensor(plan.start, device=device)
    down = float(np.float32(1) / np.float32(d + 1))
    first = 0
    for number, source in enumerate(sources):
        given, image = source.given, source.image
        pixels = (scales if given is None else given, *tables, steps if image is None else image)
        size = (source.num_pixels, source.width, first, number, down)
        P = 1 << d.bit_length()
        options = {"D": d, "P": P, "GIVEN": given is not None, "enable_fp_fusion": False}
        into = (scales, steps, starts, keys, weights)
        launch(kernels.embed, source.num_pixels, P, *pixels, *into, *size, **options)
        first += source.num_pixels
    return keys, weights


def _tables(kernel: Kernel, sources: Sequence[PixelSource]) -> list[npt.NDArray[np.float32]]:
    """The features of every x, y and colour: divided on the host, where float32 rounds as in the other backends."""
    if isinstance(kernel, FeatureKernel):
        return [np.zeros(1, dtype=np.float32)] * 3
    xy = [
        np.arange(length, dtype=np.float32) / np.float32(kernel.xy_std)
        for length in (max(source.width for source in sources), max(source.height for source in sources))
    ]
    std = np.float32(kernel.rgb_std) if isinstance(kernel, BilateralKernel) else np.float32(1)
    return [*xy, np.arange(256, dtype=np.float32) / std]


def _linked(vertices: Tensor, step: Sequence[int]) -> tuple[Tensor, Tensor]:
    M = len(vertices)
    following = torch.empty(len(step), M, dtype=torch.int32, device=vertices.device)
    previous = torch.full_like(following, -1)
    steps = torch.tensor(step, device=vertices.device)
    launch(kernels.link, M, 1, vertices, steps, following, previous, M, M.bit_length() + 1, repeats=len(step))
    return following, previous


def _divided(begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor], Tensor, Tensor, Tensor]:
    """Cut the taps of vertices that have more than _PART of them into parts."""
    count = end - begin
    crowded = torch.nonzero(count > _PART)[:, 0]
    of_each = torch.div(count[crowded] + (_PART - 1), _PART, rounding_mode="floor")
    part_end = torch.cumsum(of_each, 0, dtype=torch.int32)
    part_begin = part_end - of_each
    owner = torch.repeat_interleave(torch.arange(len(crowded), device=begin.device), of_each.long())
    number = torch.arange(len(owner), dtype=torch.int32, device=begin.device) - part_begin[owner]
    parts_begin = begin[crowded[owner]] + number * _PART
    parts_end = torch.minimum(parts_begin + _PART, end[crowded[owner]])
    light_end = end.clone()
    light_end[crowded] = begin[crowded]
    return begin, light_end, (parts_begin, parts_end), crowded.int(), part_begin, part_end


def _normalised(plain: CudaLattice, symmetric: bool) -> CudaLattice:
    """Fold the normalisation, and the factor of Adams, Baek and Davis, into the weights of splat and slice."""
    N, taps = plain.slice_weight.shape
    alpha = float(np.float32(1) / (np.float32(1) + np.float32(2) ** (1 - taps)))
    ones = plain.slice_weight.new_ones(N, 1)
    sums = torch.zeros_like(ones)
    rows = plain.rows(ones)
    sliced = (rows, plain.slice_row, plain.slice_weight, alpha)
    options = {"TAPS_A": taps, "TAPS_B": 0, "PRIOR": False, "FINISH": False, "CHANGE": False}
    launch_rows(kernels.receive, N, 1, *sliced, *sliced, sums, ones, ones, ones, N, 1, **options)
    all_ = sums[:, 0].double() + 1e-20
    after = (1 / (all_.sqrt() if symmetric else all_)).float()
    plain.slice_weight.mul_((after * alpha)[:, None])
    if symmetric:
        plain.splat_weight.mul_(after[plain.splat_pixel])
    return plain
