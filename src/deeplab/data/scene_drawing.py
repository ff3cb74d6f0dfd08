"""Draws one generated scene: ground, things with shadows from back to front, light, blur, noise."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from deeplab.data.labels import VOID
from deeplab.data.reading import UInt8Array
from deeplab.data.scene_shapes import SHAPES, FloatArray

CLASS_NAMES = ("background", *SHAPES)

# The colour of a thing differs from six sevenths of what it covers by this (RGB, 0..255), so that its outline is sharp;
# of so many colours drawn, the best is taken.
_CONTRAST = 55.0
_COLOUR_TRIES = 12
_SAMPLES = 48

# Pixels beyond a thing's own that its shadow can darken: its length and three sigmas of its blur.
_SHADOW_REACH = 11

# Preferred hue of each kind: neighbours touch, and one thing in sixteen has any hue at all.
_HUES = {"ball": 0.97, "crate": 0.08, "ring": 0.83, "rope": 0.19, "star": 0.66, "leaf": 0.34, "mug": 0.5}
_HUE_SPREAD = 0.06
_STRAYS = 0.06


def draw_scene(seed: int, index: int, height: int, width: int, void_outline: int = 0) -> tuple[UInt8Array, UInt8Array]:
    """Draw scene number `index`; the same for the same arguments, on any machine with the same OpenCV and NumPy.

    Returns the image uint8 (H, W, 3) RGB and the label uint8 (H, W): 0 ground, k the k-th of CLASS_NAMES, 255 within
    `void_outline` pixels of an edge between labels.
    """
    rng = np.random.default_rng([seed, index])
    image = _ground(rng, height, width)
    label = np.zeros((height, width), dtype=np.uint8)
    light_angle = rng.uniform(0, 2 * np.pi)
    for kind in _choose_kinds(rng):
        shape = SHAPES[kind](rng, height, width)
        window = _window(shape.mask)
        mask = shape.mask[window]
        _cast_shadow(rng, image[window], mask, light_angle)
        _paint(rng, image[window], mask > 0, shape.surface[window], kind)
        label[window][mask > 0] = CLASS_NAMES.index(kind)
    if void_outline:
        label = _outlined(label, void_outline)
    return _photograph(rng, image, light_angle), label


def _choose_kinds(rng: np.random.Generator) -> Sequence[str]:
    """Choose four to seven things; a rope or a ring, thin and curved, is always among them."""
    kinds = list(SHAPES)
    chosen = [kinds[i] for i in rng.integers(len(kinds), size=rng.integers(3, 7))]
    chosen.insert(int(rng.integers(len(chosen) + 1)), ("rope", "ring")[int(rng.integers(2))])
    return chosen


def _ground(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """Return one to three surfaces side by side, each with its colour and texture, float32 (H, W, 3)."""
    ground = _surface(rng, height, width)
    for _ in range(int(rng.integers(0, 3))):
        angle = rng.uniform(0, 2 * np.pi)
        columns = (np.arange(width) - rng.uniform(0.2, 0.8) * width)[None, :]
        rows = (np.arange(height) - rng.uniform(0.2, 0.8) * height)[:, None]
        border = np.cos(angle) * columns + np.sin(angle) * rows + rng.uniform(0, 14) * _clouds(rng, height, width, 40)
        ground = np.where(border[..., None] > 0, ground, _surface(rng, height, width))
    return ground


def _surface(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    colour = _colour(rng, rng.random(), 0.5, (0.03, 0.35), (0.3, 0.85))
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None, :]
    kind, period = int(rng.integers(4)), np.float32(rng.uniform(4, 9))
    if kind == 0:  # pebbles
        texture = 0.14 * _clouds(rng, height, width, 6)
    elif kind == 1:  # cloth
        texture = 0.09 * np.sin(columns * 2 * np.pi / period) * np.sin(rows * 2 * np.pi / period)
    elif kind == 2:  # wood
        texture = 0.1 * np.sin((rows + 6 * _clouds(rng, height, width, 50)) * np.float32(2 * np.pi) / period)
    else:  # plaster
        texture = 0.08 * _clouds(rng, height, width, 18)
    brightness = 1 + texture + 0.08 * _clouds(rng, height, width, 60)
    return np.asarray(colour * brightness[..., None], dtype=np.float32)


def _window(mask: UInt8Array) -> tuple[slice, slice]:
    """Return the part of the picture that a thing and its shadow lie in."""
    left, top, width, height = cv2.boundingRect(mask)
    rows = slice(max(0, top - _SHADOW_REACH), top + height + _SHADOW_REACH)
    return rows, slice(max(0, left - _SHADOW_REACH), left + width + _SHADOW_REACH)


def _paint(
    rng: np.random.Generator, image: FloatArray, inside: npt.NDArray[np.bool_], surface: FloatArray, kind: str
) -> None:
    if not inside.any():
        return
    covered = image[inside]
    covered = covered[rng.integers(len(covered), size=_SAMPLES)]
    spread = 0.5 if rng.random() < _STRAYS else _HUE_SPREAD
    best, best_contrast = np.zeros(3, dtype=np.float32), -1.0
    for _ in range(_COLOUR_TRIES):
        colour = _colour(rng, _HUES[kind], spread, (0.45, 0.95), (0.35, 0.95))
        contrast = float(np.sort(np.linalg.norm(covered - colour, axis=1))[_SAMPLES // 7])
        if contrast > best_contrast:
            best, best_contrast = colour, contrast
        if contrast > _CONTRAST:
            break
    image[inside] = best * surface[inside][:, None]


def _colour(
    rng: np.random.Generator, hue: float, spread: float, saturation: tuple[float, float], value: tuple[float, float]
) -> FloatArray:
    hue = (hue + spread * rng.uniform(-1, 1)) % 1
    rgb = colorsys.hsv_to_rgb(hue, rng.uniform(*saturation), rng.uniform(*value))
    return np.array(rgb, dtype=np.float32) * 255


def _cast_shadow(rng: np.random.Generator, image: FloatArray, mask: UInt8Array, light_angle: float) -> None:
    """Darken, softly, what lies on the far side of a thing from the light."""
    length = rng.uniform(2, 5)
    shift = np.array([[1, 0, length * np.cos(light_angle)], [0, 1, length * np.sin(light_angle)]], dtype=np.float32)
    shadow = cv2.warpAffine(mask, shift, mask.shape[::-1], flags=cv2.INTER_LINEAR)
    shadow = cv2.GaussianBlur(shadow, (0, 0), 2.0)
    image *= 1 - np.float32(rng.uniform(0.15, 0.4) / 255) * shadow[..., None]


def _photograph(rng: np.random.Generator, image: FloatArray, light_angle: float) -> UInt8Array:
    """Light the scene unevenly, blur it slightly, add sensor noise and round it to 8 bits."""
    height, width = image.shape[:2]
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :] * np.float32(np.cos(light_angle))
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(np.sin(light_angle))
    light = np.float32(rng.uniform(0.88, 1.05)) - np.float32(rng.uniform(0.05, 0.2)) * (across + down)
    light = light + np.float32(0.1) * _clouds(rng, height, width, 80)
    lit = cv2.GaussianBlur(image * light[..., None], (0, 0), rng.uniform(0.35, 0.6))
    # The difference of two uniform bytes is near enough to Gaussian and drawn ten times as fast.
    noise = np.subtract(*rng.integers(0, 256, (2, *lit.shape), dtype=np.uint8), dtype=np.float32)
    noise *= np.float32(rng.uniform(1.5, 4) * np.sqrt(6) / 255)
    lit += noise
    return np.asarray(np.clip(np.rint(lit, out=lit), 0, 255, out=lit), dtype=np.uint8)


def _clouds(rng: np.random.Generator, height: int, width: int, cell: int) -> FloatArray:
    """Return smooth noise of about -1 to 1, float32 (H, W), whose spots are `cell` pixels wide."""
    coarse = rng.uniform(-1, 1, (height // cell + 3, width // cell + 3)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _outlined(label: UInt8Array, width: int) -> UInt8Array:
    square = np.ones((2 * width + 1, 2 * width + 1), dtype=np.uint8)
    edges = cv2.dilate(label, square) != cv2.erode(label, square)
    return np.where(edges, np.uint8(VOID), label)
