"""The Gaussian kernels that connect every pixel with every other (equation 3 of the paper)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float32]
ByteArray: TypeAlias = npt.NDArray[np.uint8]


_LARGEST = 1e30  # what weights and standard deviations are multiplied and divided with stays a float32


def positive(name: str, value: float) -> None:
    """Reject a standard deviation that is not a positive finite number.

    Raises:
        ValueError: naming the parameter, its value and the remedy.
    """
    if not (_is_number(value) and 1 / _LARGEST <= value <= _LARGEST):
        raise ValueError(
            f"{name} = {value!r}: a standard deviation must be positive and finite, 1e-30 to 1e30; to drop a kernel, "
            "weight 0"
        )


def weight_of_kernel(name: str, value: float) -> None:
    """Reject a weight that is negative or not finite.

    Raises:
        ValueError: naming the parameter, its value and the remedy.
    """
    if not (_is_number(value) and 0 <= value <= _LARGEST):
        raise ValueError(
            f"{name} = {value!r}: a kernel's weight must be 0 (no such kernel) or positive and finite, 1e30 at most"
        )


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except (TypeError, ValueError, OverflowError):
        return False


@dataclass(frozen=True)
class SpatialKernel:
    """exp(-|p_i - p_j|^2 / 2 xy_std^2): neighbouring pixels agree; xy_std in pixels (equation 3, second term)."""

    weight: float
    xy_std: float

    def __post_init__(self) -> None:
        weight_of_kernel("SpatialKernel.weight", self.weight)
        positive("SpatialKernel.xy_std", self.xy_std)


@dataclass(frozen=True)
class BilateralKernel:
    """exp(-|p_i - p_j|^2 / 2 xy_std^2 - |I_i - I_j|^2 / 2 rgb_std^2): equation 3, first term.

    xy_std in pixels, rgb_std in units of the 0..255 scale.
    """

    weight: float
    xy_std: float
    rgb_std: float

    def __post_init__(self) -> None:
        weight_of_kernel("BilateralKernel.weight", self.weight)
        positive("BilateralKernel.xy_std", self.xy_std)
        positive("BilateralKernel.rgb_std", self.rgb_std)


@dataclass(frozen=True, eq=False)
class FeatureKernel:
    """exp(-|f_i - f_j|^2 / 2) on any features, so that depth, infrared or a network's embedding can steer the CRF.

    features: (F, H, W), 1 <= F <= 16, each already divided by its standard deviation.
    """

    weight: float
    features: Any

    def __post_init__(self) -> None:
        weight_of_kernel("FeatureKernel.weight", self.weight)


Kernel: TypeAlias = SpatialKernel | BilateralKernel | FeatureKernel


def features(kernel: Kernel, shape: tuple[int, int], image: ByteArray | None) -> FloatArray:
    """Return the kernel's features (F, H*W), divided by their standard deviations in float32.

    The order x, y, r, g, b decides which permutohedral lattice is built; it is that of Krähenbühl and Koltun's code.

    Raises:
        ValueError: for a bilateral kernel without an image and for a feature array of another size.
    """
    H, W = shape
    if isinstance(kernel, FeatureKernel):
        return _given_features(kernel, shape)
    std = np.float32(kernel.xy_std)
    y, x = np.mgrid[0:H, 0:W].astype(np.float32)
    rows = [x.ravel() / std, y.ravel() / std]
    if isinstance(kernel, BilateralKernel):
        if image is None:
            raise ValueError("a bilateral kernel needs the image: pass it, or set bilateral_weight to 0")
        rgb = image.reshape(H * W, 3).T.astype(np.float32) / np.float32(kernel.rgb_std)
        rows.extend(rgb)
    return np.ascontiguousarray(np.stack(rows), dtype=np.float32)


def given_features(kernel: FeatureKernel) -> FloatArray:
    """Return the features as float32, of tensors too that need gradients, lie on a GPU or are bfloat16.

    Raises:
        ValueError: if they are no numbers.
    """
    given = kernel.features
    if hasattr(given, "detach"):
        given = given.detach().cpu().float().numpy()
    try:
        with np.errstate(over="ignore"):
            return np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"features are a {type(given).__name__}: expected an array (F, H, W) of numbers") from error


def _given_features(kernel: FeatureKernel, shape: tuple[int, int]) -> FloatArray:
    given = given_features(kernel)
    features_fit(given.shape, shape, bool(np.isfinite(given).all()))
    return np.require(given.reshape(given.shape[0], -1), requirements=("C_CONTIGUOUS", "ALIGNED"))


def features_fit(given: tuple[int, ...], shape: tuple[int, int], finite: bool) -> None:
    """Reject features that are not (F, H, W) with F from 1 to 16, or not finite.

    Raises:
        ValueError: naming the shape, or what they hold.
    """
    if len(given) != 3 or given[1:] != shape or not 1 <= given[0] <= 16:
        raise ValueError(f"features of shape {given}: expected (F, {shape[0]}, {shape[1]}) with F from 1 to 16")
    if not finite:
        raise ValueError("features hold NaN or infinity: replace them, for example by the mean")
