"""Overlapping tiles that start on the network's grid, and their blending.

The paper splits Cityscapes pictures "into overlapped regions" (section 4.4) without saying how; tile, overlap and
blending are ours. A tile starts at a multiple of the network's size multiple and has a valid size itself, so that its
logits lie where those of the whole picture lie; what differs is only what the network does not see beyond the tile.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class Span(NamedTuple):
    """Pixels `start` to `stop` (exclusive) of one axis."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.stop - self.start


class Block(NamedTuple):
    """Finished probabilities (K, h, w) whose first pixel is (top, left)."""

    top: int
    left: int
    probabilities: Tensor


def cut(cells: int, tile: int, overlap: int) -> list[Span]:
    """Cover `cells` grid cells with the fewest tiles of at most `tile` cells that overlap by at least `overlap`.

    All tiles have one size, the smallest that this number of tiles allows, and are spread evenly.
    """
    if cells <= tile:
        return [Span(0, cells)]
    count = -(-(cells - overlap) // (tile - overlap))
    size = -(-(cells + (count - 1) * overlap) // count)
    last = cells - size
    return [Span(last * i // (count - 1), last * i // (count - 1) + size) for i in range(count)]


def blending_weights(spans: Sequence[Span], overlap: int) -> list[Tensor]:
    """Weight of each tile's pixels along one axis, float32; over all tiles they sum to 1 at every pixel.

    At a border inside the picture the outermost 3/8 of `overlap` pixels count nothing, the next quarter rises
    linearly. So tiles give the untiled result if no pixel's result depends on more than 3/8 of the overlap around it;
    if it does, one tile fades into the next instead of leaving a seam.
    """
    length = spans[-1].stop
    margin = 3 * overlap // 8
    ramp = overlap - 2 * margin + 1
    raw = []
    for start, stop in spans:
        position = torch.arange(stop - start, dtype=torch.float64)
        weight = torch.ones(stop - start, dtype=torch.float64)
        if start > 0:
            weight = torch.minimum(weight, (position + 1 - margin) / ramp)
        if stop < length:
            weight = torch.minimum(weight, (stop - start - position - margin) / ramp)
        raw.append(weight.clamp(min=0))
    total = torch.zeros(length, dtype=torch.float64)
    for (start, stop), weight in zip(spans, raw, strict=True):
        total[start:stop] += weight
    return [(weight / total[start:stop]).float() for (start, stop), weight in zip(spans, raw, strict=True)]


def blend(
    rows: Sequence[Span], columns: Sequence[Span], overlap: int, predict: Callable[[Span, Span], Tensor]
) -> Iterator[Block]:
    """Yield the blended probabilities piece by piece, each pixel once, from the top left to the bottom right.

    `predict(row, column)` gives the probabilities (K, h, w) of one tile and hands them over (they are changed in
    place). Held at a time: one tile, and of the row of tiles above only the pixels that the next row overlaps.
    """
    if len(rows) == len(columns) == 1:
        yield Block(0, 0, predict(rows[0], columns[0]))
        return
    depth = max((above.stop - below.start for above, below in pairwise(rows)), default=0)
    row_weights = blending_weights(rows, overlap)
    column_weights = blending_weights(columns, overlap)
    pending: Tensor | None = None  # what the rows of tiles so far add to the next one
    for index, row in enumerate(rows):
        above = rows[index - 1].stop - row.start if index > 0 else 0
        finished = _finished(rows, index)
        for column, strip in _strips(columns, column_weights, partial(predict, row)):
            here = slice(*column)
            if pending is None:
                pending = strip.new_empty((strip.shape[0], depth, columns[-1].stop))
            strip *= row_weights[index].to(strip.device)[:, None]
            strip[:, :above] += pending[:, :above, here]
            unfinished = strip[:, finished.size :]
            pending[:, : unfinished.shape[1], here] = unfinished
            yield Block(row.start, column.start, strip[:, : finished.size])


def _finished(spans: Sequence[Span], index: int) -> Span:
    """Return the part of a tile, along one axis, that no later tile reaches."""
    return Span(spans[index].start, spans[index + 1].start if index + 1 < len(spans) else spans[index].stop)


def _strips(
    columns: Sequence[Span], weights: Sequence[Tensor], predict: Callable[[Span], Tensor]
) -> Iterator[tuple[Span, Tensor]]:
    """Blend one row of tiles; yield the columns that are finished and their values (K, h, w)."""
    pending: Tensor | None = None
    for index, column in enumerate(columns):
        tile = predict(column)
        tile *= weights[index].to(tile.device)
        if pending is not None:
            tile[..., : pending.shape[-1]] += pending
        finished = _finished(columns, index)
        pending = tile[..., finished.size :].clone()
        yield finished, tile[..., : finished.size]
