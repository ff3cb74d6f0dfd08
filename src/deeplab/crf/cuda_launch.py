"""How the Triton kernels are launched."""

from __future__ import annotations

import os
from typing import Any

from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

TILE = 1024  # elements of a program's block, rows times columns
NUM_WARPS = 4


def row_length(num_labels: int) -> int:
    """Return S: rows of float32 start at multiples of 32 bytes (16 for up to four labels), so that loads are wide."""
    unit = 4 if num_labels <= 4 else 8
    return -(-num_labels // unit) * unit


def launch(kernel: Any, count: int, width: int, *arguments: Any, repeats: int = 1, **options: Any) -> None:
    """Run a kernel over `count` items, in blocks of B items of `width` elements, on the current device."""
    if count == 0:
        return
    first = next(argument for argument in arguments if isinstance(argument, Tensor))
    if not first.is_cuda:
        # Triton's interpreter takes long for a program, whatever its size: one of them does all.
        kernel[1, repeats](*arguments, B=1 << (count - 1).bit_length(), **options)
        return
    B = max(1, TILE // width)
    grid = (-(-count // B), repeats)
    kernel[grid](*arguments, B=B, num_warps=NUM_WARPS, **options)


def launch_rows(kernel: Any, count: int, S: int, *arguments: Any, **options: Any) -> None:
    """Run a kernel over `count` rows of S floats."""
    KP = 1 << (S - 1).bit_length()
    launch(kernel, count, KP, *arguments, S=S, KP=KP, **options)
