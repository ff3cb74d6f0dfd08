"""One picture, checked and brought into the form that every backend takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from deeplab.crf.kernels import BilateralKernel, ByteArray, FloatArray, Kernel
from deeplab.crf.params import CRFParams


@dataclass(frozen=True, eq=False)
class Problem:
    """What a backend refines: scores (K, H, W) float32, image (H, W, 3) uint8 or None, the kernels of non-zero weight.

    initial: marginals (K, H, W) to start from instead of the unary's softmax, or None.
    labels: what the labels of `params.compatibility` are and which labels take part, in ascending order; the others
        return 0. None: all. Only the native backend is ever given some (approximations.py).
    idle_below: labels whose marginals are all below this need no messages, in any iteration. Native heeds it.
    highest: the highest probability of each label, or None where nobody has looked (native.py does).
    device: where the scores came from and the torch backend computes ("cpu", "cuda:0" ...).
    """

    scores: FloatArray
    image: ByteArray | None
    kernels: tuple[Kernel, ...]
    params: CRFParams
    initial: FloatArray | None = None
    device: str = "cpu"
    labels: tuple[int, ...] | None = None
    idle_below: float = 0.0
    highest: tuple[float, ...] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.scores.shape[1], self.scores.shape[2]

    @property
    def num_classes(self) -> int:
        """Number of labels K."""
        return int(self.scores.shape[0])


@dataclass(frozen=True, eq=False)
class Refinement:
    """Marginals (K, H, W), the iterations done, and the trace if it was asked for.

    energies, divergences: of the marginals before each iteration and of the last ones, in nats, summed over the
    picture. The energy is the expectation of equation 2 under the marginals; the divergence is the Kullback-Leibler
    divergence from the marginals to the CRF's distribution, up to the logarithm of its partition function: energy
    minus entropy.
    """

    marginals: Any
    iterations: int
    energies: tuple[float, ...] = ()
    divergences: tuple[float, ...] = ()


def to_numpy(array: Any, name: str) -> np.ndarray[Any, Any]:
    """Return a numpy view (or a copy from another device) of a numpy array or a tensor.

    Raises:
        ValueError: if it is neither.
    """
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "detach"):
        plain = array.detach().cpu()
        # numpy has no bfloat16.
        result: np.ndarray[Any, Any] = (plain.float() if str(plain.dtype) == "torch.bfloat16" else plain).numpy()
        return result
    raise ValueError(f"{name} is a {type(array).__name__}: expected a numpy array or a tensor")


def make_problem(
    scores: Any, image: Any, params: CRFParams, kernels: tuple[Kernel, ...], initial: Any = None
) -> Problem:
    """Check shapes and types of one picture.

    Raises:
        ValueError: for scores that are not (K, H, W) floats, an image that is not (H, W, 3) uint8 of the same size, a
            compatibility matrix for another number of labels, or initial marginals of another shape.
    """
    checked = numpy_scores(scores, "scores")
    check_compatibility(params, len(checked))
    picture = None if image is None else numpy_image(image, (checked.shape[1], checked.shape[2]))
    if picture is None and any(isinstance(kernel, BilateralKernel) for kernel in kernels):
        raise ValueError("a bilateral kernel needs the image: pass it, or set bilateral_weight to 0")
    start = None
    if initial is not None:
        start = numpy_scores(initial, "initial")
        initial_fits(start.shape, checked.shape, bool(np.isfinite(start).all()))
    return Problem(checked, picture, kernels, params, start, str(getattr(scores, "device", "cpu")))


def numpy_scores(given: Any, name: str) -> FloatArray:
    """Return scores as float32 (K, H, W) in C order.

    Raises:
        ValueError: if they are not floats of that shape.
    """
    array = to_numpy(given, name)
    scores_fit(array.shape, str(array.dtype), array.dtype.kind == "f")
    with np.errstate(over="ignore"):
        return np.require(array, np.float32, ("C_CONTIGUOUS", "ALIGNED"))


def numpy_image(given: Any, shape: tuple[int, int]) -> ByteArray:
    """Return a picture as uint8 (H, W, 3) in C order.

    Raises:
        ValueError: if it is of another type or size.
    """
    array = to_numpy(given, "image")
    image_fits(array.shape, str(array.dtype), array.dtype == np.uint8, shape)
    return np.ascontiguousarray(array)


def scores_fit(shape: tuple[int, ...], dtype: str, floating: bool) -> None:
    """Reject scores that are not (K, H, W) floats.

    Raises:
        ValueError: naming the shape or type.
    """
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"scores of shape {shape}: expected (labels, height, width), none of them 0")
    if not floating:
        raise ValueError(f"scores of type {dtype}: expected floating point")


def image_fits(shape: tuple[int, ...], dtype: str, is_uint8: bool, expected: tuple[int, int]) -> None:
    """Reject an image that is not uint8 (H, W, 3) at the scores' size.

    Raises:
        ValueError: naming the shape or type.
    """
    if shape != (*expected, 3):
        raise ValueError(f"image of shape {shape}: expected {(*expected, 3)}, as high and wide as the scores")
    if not is_uint8:
        raise ValueError(f"image of type {dtype}: expected uint8, 0..255, before any mean is subtracted")


def initial_fits(shape: tuple[int, ...], expected: tuple[int, ...], finite: bool) -> None:
    """Reject initial marginals of another shape than the scores', or with NaN or infinity.

    Raises:
        ValueError: naming the shape.
    """
    if shape != expected or not finite:
        raise ValueError(f"initial of shape {shape}: expected finite marginals of the scores' shape {expected}")


def check_compatibility(params: CRFParams, num_labels: int) -> None:
    """Reject a compatibility matrix for another number of labels.

    Raises:
        ValueError: naming both numbers.
    """
    if params.compatibility is not None and len(params.compatibility) != num_labels:
        K = num_labels
        raise ValueError(
            f"compatibility for {len(params.compatibility)} labels, but the scores hold {K}: give a {K} x {K} one"
        )
