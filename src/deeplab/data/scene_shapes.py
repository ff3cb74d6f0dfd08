"""The seven kinds of things in a generated scene: an outline and a surface each, at a random place, size and turn."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deeplab.data.reading import UInt8Array

FloatArray = npt.NDArray[np.float32]

# Fractional bits of the coordinates given to OpenCV.
_SHIFT = 4


@dataclass(frozen=True)
class Shape:
    """A thing before it is coloured: `mask` uint8 (H, W), 255 inside; `surface` float32 (H, W), brightness about 1."""

    mask: UInt8Array
    surface: FloatArray


@dataclass(frozen=True)
class _Place:
    """A turned frame: `u`, `v` are pixels along and across it, float32 (H, W); `unit` grows with the picture."""

    x: float
    y: float
    angle: float
    unit: float
    u: FloatArray
    v: FloatArray

    def to_picture(self, points: npt.ArrayLike) -> npt.NDArray[np.int32]:
        """Turn points (N, 2) of the frame into picture coordinates for OpenCV, with fractional bits."""
        local = np.asarray(points, dtype=np.float64)
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        turned = local @ np.array([[cosine, sine], [-sine, cosine]]) + (self.x, self.y)
        return np.asarray(np.round(turned * 2**_SHIFT), dtype=np.int32)


def _ball(rng: np.random.Generator, height: int, width: int) -> Shape:
    place = _place(rng, height, width)
    radius = rng.uniform(11, 26) * place.unit
    distance = np.hypot(place.u, place.v * np.float32(rng.uniform(1, 1.15))) / np.float32(radius)
    lit = np.hypot(place.u / radius - 0.35, place.v / radius - 0.35)
    surface = 1.22 - 0.4 * lit + 0.35 * np.exp(-18 * lit**2)
    return Shape(_filled(distance < 1), surface.astype(np.float32))


def _crate(rng: np.random.Generator, height: int, width: int) -> Shape:
    place = _place(rng, height, width)
    half_u, half_v = rng.uniform(12, 28) * place.unit, rng.uniform(10, 20) * place.unit
    plank = rng.uniform(7, 11) * place.unit
    gaps = (place.v / plank % 1) < 0.16
    grain = _stripes(place.v + 2 * np.sin(place.u / 9), 3.1)
    surface = 1 + 0.05 * grain - 0.22 * gaps
    return Shape(_filled((np.abs(place.u) < half_u) & (np.abs(place.v) < half_v)), surface.astype(np.float32))


def _ring(rng: np.random.Generator, height: int, width: int) -> Shape:
    place = _place(rng, height, width)
    radius, flatness = rng.uniform(13, 28) * place.unit, np.float32(rng.uniform(1, 1.6))
    thickness = rng.uniform(5.5, 10) * place.unit
    distance = np.hypot(place.u, place.v * flatness)
    turns = np.arctan2(place.v * flatness, place.u) * int(rng.integers(6, 11))
    surface = 1 + 0.13 * np.tanh(3 * np.sin(turns))
    return Shape(_filled((distance < radius) & (distance > radius - thickness)), surface.astype(np.float32))


def _rope(rng: np.random.Generator, height: int, width: int) -> Shape:
    place = _place(rng, height, width)
    steps, stride = int(rng.integers(14, 26)), 6 * place.unit
    wave = np.sin(np.arange(steps) * rng.uniform(0.2, 0.7) + rng.uniform(0, 2 * np.pi))
    bends = rng.uniform(-0.16, 0.16) + 0.25 * wave
    headings = rng.uniform(0, 2 * np.pi) + np.cumsum(bends)
    points = np.cumsum(stride * np.stack([np.cos(headings), np.sin(headings)], axis=1), axis=0)
    points -= points.mean(axis=0)
    thickness = max(2, round(rng.uniform(3.5, 6) * place.unit))
    mask = _drawn_line(place, points, thickness)
    surface = 1 + 0.13 * _stripes(place.u + place.v, 5.0 * place.unit)
    return Shape(mask, surface.astype(np.float32))


def _star(rng: np.random.Generator, height: int, width: int) -> Shape:
    place = _place(rng, height, width)
    points, radius = int(rng.integers(5, 7)), rng.uniform(14, 28) * place.unit
    angles = np.arange(2 * points) * np.pi / points
    radii = np.where(np.arange(2 * points) % 2 == 0, radius, radius * rng.uniform(0.36, 0.46))
    mask = _drawn_polygon(place, np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1))
    facets = np.cos(np.arctan2(place.v, place.u) * points) * np.sin(np.arctan2(place.v, place.u) * points)
    return Shape(mask, (1 + 0.1 * np.tanh(4 * facets)).astype(np.float32))


def _leaf(rng: np.random.Generator, height: int, width: int) -> Shape:
    place = _place(rng, height, width)
    half, widest = rng.uniform(15, 30) * place.unit, rng.uniform(0.3, 0.45)
    along = np.linspace(-1, 1, 24)
    across = half * widest * (1 - along**2) * (1 - 0.3 * along)
    outline = np.concatenate([np.stack([half * along, across], 1), np.stack([half * along, -across], 1)[::-1]])
    mask = _drawn_polygon(place, outline)
    stem = half * np.array([[0.9, 0.0], [1.2, 0.04], [1.5, rng.uniform(0.05, 0.3)]])
    mask |= _drawn_line(place, stem, max(2, round(2.2 * place.unit)))
    side_veins = ((place.u - 0.8 * np.abs(place.v)) / (6 * place.unit) % 1) < 0.2
    surface = 1.04 - 0.2 * (np.abs(place.v) < 0.8 * place.unit) - 0.1 * side_veins
    return Shape(mask, surface.astype(np.float32))


def _mug(rng: np.random.Generator, height: int, width: int) -> Shape:
    place = _place(rng, height, width, turn=0.35)
    half_u, half_v = rng.uniform(10, 17) * place.unit, rng.uniform(12, 20) * place.unit
    foot, side = half_u * rng.uniform(0.65, 0.95), rng.choice([-1.0, 1.0])
    mask = _drawn_polygon(place, [(-half_u, -half_v), (half_u, -half_v), (foot, half_v), (-foot, half_v)])
    turns = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 16)
    reach, tall = rng.uniform(8, 12) * place.unit, half_v * rng.uniform(0.5, 0.65)
    handle = np.stack([side * (0.88 * half_u + reach * np.cos(turns)), tall * np.sin(turns) - 0.1 * half_v], axis=1)
    mask |= _drawn_line(place, handle, max(3, round(rng.uniform(2.6, 4.2) * place.unit)))
    rims = (np.abs(place.v + 0.75 * half_v) < 1.5) | (np.abs(place.v - 0.7 * half_v) < 1.5)
    surface = 1.12 - 0.28 * (place.u / (half_u + reach)) ** 2 - 0.16 * rims
    return Shape(mask, surface.astype(np.float32))


SHAPES: dict[str, Callable[[np.random.Generator, int, int], Shape]] = {
    "ball": _ball,
    "crate": _crate,
    "ring": _ring,
    "rope": _rope,
    "star": _star,
    "leaf": _leaf,
    "mug": _mug,
}


def _place(rng: np.random.Generator, height: int, width: int, turn: float = np.pi) -> _Place:
    x, y = rng.uniform(0.06, 0.94) * width, rng.uniform(0.06, 0.94) * height
    angle = rng.uniform(-turn, turn)
    columns = (np.arange(width) - x).astype(np.float32)[None, :]
    rows = (np.arange(height) - y).astype(np.float32)[:, None]
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    unit = min(height, width) / 160 * rng.uniform(1.15, 1.6)
    return _Place(x, y, angle, unit, cosine * columns + sine * rows, cosine * rows - sine * columns)


def _stripes(distance: FloatArray, period: float) -> FloatArray:
    return np.asarray(np.sin(distance * np.float32(2 * np.pi / period)))


def _filled(inside: npt.NDArray[np.bool_]) -> UInt8Array:
    return inside.astype(np.uint8) * np.uint8(255)


def _drawn_polygon(place: _Place, points: npt.ArrayLike) -> UInt8Array:
    mask = np.zeros(place.u.shape, dtype=np.uint8)
    cv2.fillPoly(mask, [place.to_picture(points)], 255, lineType=cv2.LINE_8, shift=_SHIFT)
    return mask


def _drawn_line(place: _Place, points: npt.ArrayLike, thickness: int) -> UInt8Array:
    mask = np.zeros(place.u.shape, dtype=np.uint8)
    cv2.polylines(mask, [place.to_picture(points)], False, 255, thickness, lineType=cv2.LINE_8, shift=_SHIFT)
    return mask
