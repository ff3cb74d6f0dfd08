"""All numbers of the dense CRF, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias, get_args

from deeplab.crf.kernels import BilateralKernel, Kernel, SpatialKernel, positive, weight_of_kernel

Normalization: TypeAlias = Literal["symmetric", "after"]
UnaryKind: TypeAlias = Literal["probabilities", "logits"]
MOST_ITERATIONS = 1_000_000
LARGEST_PENALTY = 1e6  # the weights multiply it, and exponents of float32 have to hold the product


@dataclass(frozen=True)
class CRFParams:
    """Parameters of the mean field, by default those customary for VOC (4, 67, 3; 3, 1; 10 iterations).

    The paper itself fixes gaussian_weight = gaussian_xy_std = 3 and searches the bilateral ones (section 4.1).

    iterations: mean-field steps; 0 returns the softmax of the unary.
    bilateral_weight, bilateral_xy_std (pixels), bilateral_rgb_std (0..255): w1, sigma_alpha, sigma_beta of equation 3.
    gaussian_weight, gaussian_xy_std (pixels): w2, sigma_gamma. A weight of 0 removes the kernel.
    normalization: "symmetric" divides by the root of the kernel's sum on both sides (pydensecrf), "after" by the sum on
        the receiving side only (the authors' binary).
    unary: "probabilities" takes -log(clip(p, 1e-5, 1)), "logits" takes -score unclipped, as the authors did.
    compatibility: None is Potts; else a symmetric (K, K) matrix of penalties, which the weights multiply.
    tolerance: stop early once no marginal changes by more than this; 0 runs all iterations.

    Approximations, off by default (measured errors in docs/crf.md):
    prune_below: leave out labels whose input probability (of raw scores, their softmax) is below this everywhere; they
        return 0. The most probable label always stays. Unless there is a `compatibility` matrix or a trace is asked
        for, native also leaves out messages of labels that fall below it later, and of more labels as long as that
        moves no marginal by more than this in an iteration.
    half_resolution: run the mean field at half the picture's size and interpolate its messages (approximations.py).

    Raises:
        ValueError: for a standard deviation that is not positive, a negative count or weight, or an unknown choice.
    """

    iterations: int = 10
    bilateral_weight: float = 4.0
    bilateral_xy_std: float = 67.0
    bilateral_rgb_std: float = 3.0
    gaussian_weight: float = 3.0
    gaussian_xy_std: float = 1.0
    normalization: Normalization = "symmetric"
    unary: UnaryKind = "probabilities"
    compatibility: tuple[tuple[float, ...], ...] | None = None
    tolerance: float = 0.0
    prune_below: float = 0.0
    half_resolution: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.iterations, bool) or not isinstance(self.iterations, Integral) or self.iterations < 0:
            raise ValueError(f"iterations = {self.iterations!r}: expected a whole number, 0 or more")
        object.__setattr__(self, "iterations", int(self.iterations))
        if self.iterations > MOST_ITERATIONS:
            raise ValueError(f"iterations = {self.iterations}: expected at most {MOST_ITERATIONS}")
        if not isinstance(self.half_resolution, bool):
            raise ValueError(f"half_resolution = {self.half_resolution!r}: expected True or False")
        positive("bilateral_xy_std", self.bilateral_xy_std)
        positive("bilateral_rgb_std", self.bilateral_rgb_std)
        positive("gaussian_xy_std", self.gaussian_xy_std)
        weight_of_kernel("bilateral_weight", self.bilateral_weight)
        weight_of_kernel("gaussian_weight", self.gaussian_weight)
        _one_of("normalization", self.normalization, get_args(Normalization))
        _one_of("unary", self.unary, get_args(UnaryKind))
        _fraction("tolerance", self.tolerance)
        _fraction("prune_below", self.prune_below)
        if self.compatibility is not None:
            object.__setattr__(self, "compatibility", _symmetric(self.compatibility))

    def kernels(self) -> tuple[Kernel, ...]:
        """Return the kernels whose weight is not 0, the spatial one first, as the authors add them."""
        spatial = SpatialKernel(self.gaussian_weight, self.gaussian_xy_std)
        bilateral = BilateralKernel(self.bilateral_weight, self.bilateral_xy_std, self.bilateral_rgb_std)
        return tuple(kernel for kernel in (spatial, bilateral) if kernel.weight > 0)


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} = {value!r}: choose one of {', '.join(choices)}")


def _fraction(name: str, value: float) -> None:
    if not (isinstance(value, Real) and 0 <= value < 1):
        raise ValueError(f"{name} = {value!r}: expected a number from 0 (off) to below 1")


def _symmetric(matrix: Any) -> tuple[tuple[float, ...], ...]:
    try:
        rows = tuple(tuple(float(value) for value in row) for row in matrix)
    except (TypeError, ValueError) as error:
        raise ValueError(f"compatibility = {matrix!r}: expected rows of numbers, one a label") from error
    K = len(rows)
    if K == 0 or any(len(row) != K for row in rows):
        raise ValueError(f"compatibility with {K} rows: expected a square matrix, a row and a column a label")
    for i in range(K):
        for j in range(K):
            if not abs(rows[i][j]) <= LARGEST_PENALTY or rows[i][j] != rows[j][i]:
                raise ValueError(
                    f"compatibility[{i}][{j}] = {rows[i][j]}: expected penalties of at most {LARGEST_PENALTY:g}, equal "
                    "both ways"
                )
    return rows
