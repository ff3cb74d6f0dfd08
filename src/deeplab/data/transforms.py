"""The training transform: scale, pad with the mean, crop, mirror, as the authors' Caffe layer does (section 4.1).

The authors' released ResNet recipe draws the scale from {0.5, 0.75, 1, 1.25, 1.5}; their VGG recipe does not scale.
"""

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deeplab.data.labels import VOID
from deeplab.data.reading import UInt8Array
from deeplab.errors import InputError

# Told apart from the stream that shuffles the pictures (sampling.py).
_AUGMENTATION_STREAM = 2
_LARGEST_CROP = 16385  # pixels along a side, of which float32 takes 3 GB
_LARGEST_SCALE = 64.0


@dataclass(frozen=True)
class TrainSample:
    """What the network is trained on: `image` float32 (crop, crop, 3) RGB 0..255, `label` uint8 (crop, crop)."""

    image: npt.NDArray[np.float32]
    label: UInt8Array


class TrainTransform:
    """Scale, colour jitter, padding, crop and mirror, drawn from (seed, epoch, picture) and nothing else.

    - `scales`: a list to choose from, unless there is a `scale_range` (min, max) to draw uniformly from; the image is
      resized by cv2 LINEAR, the label by NEAREST;
    - what is smaller than the crop is padded at the bottom and the right: the image by `pad_rgb` (RGB, 0..255, the
      colour that the network's normalisation turns into 0), the label by 255;
    - a random crop of crop_size x crop_size, then mirrored in one case of two if `mirror`;
    - `color_jitter`: None, or the ranges {brightness, contrast, saturation, hue} of albumentations' ColorJitter; the
      paper has none.

    A picture too small for a scale (under 1/scale pixels) keeps its size. Raises InputError for values that cannot be.
    """

    def __init__(
        self,
        crop_size: int,
        scales: Sequence[float],
        mirror: bool,
        pad_rgb: Sequence[float],
        seed: int,
        color_jitter: Mapping[str, float] | None = None,
        scale_range: Sequence[float] | None = None,
    ) -> None:
        # Unless told not to, albumentations asks the network for its version when it is imported.
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        import albumentations

        if not 1 <= crop_size <= _LARGEST_CROP:
            raise InputError(f"data.crop_size={crop_size}: it must be 1 to {_LARGEST_CROP} pixels.")
        if len(pad_rgb) != 3:
            raise InputError(f"pad_rgb={list(pad_rgb)}: it must be three values, red, green and blue.")
        self._seed = seed
        # Before the crop the picture is turned into float32: a mean of 104.008 has no place in 8 bits.
        rest = [
            *_color_jitter(color_jitter),
            albumentations.Lambda(image=_to_float, p=1.0),
            albumentations.RandomCrop(
                crop_size,
                crop_size,
                pad_if_needed=True,
                pad_position="top_left",
                fill=tuple(float(value) for value in pad_rgb),
                fill_mask=float(VOID),
                p=1.0,
            ),
            *([albumentations.HorizontalFlip(p=0.5)] if mirror else []),
        ]
        limits = _scale_limits(scales, scale_range)
        scaling = _scaling(limits)
        self._smallest_side = int(np.ceil(1 / min(low for low, _ in limits)))
        self._full = albumentations.Compose([*scaling, *rest])
        self._unscaled = albumentations.Compose(rest)
        for transform in (self._full, self._unscaled):
            require_nearest_labels(transform)

    def __call__(self, image: UInt8Array, label: UInt8Array, epoch: int, picture: int) -> TrainSample:
        """Transform an image uint8 (H, W, 3) and its label uint8 (H, W), the picture being number `picture`."""
        transform = self._full if min(label.shape) >= self._smallest_side else self._unscaled
        words = np.random.SeedSequence([_AUGMENTATION_STREAM, self._seed, epoch, picture]).generate_state(2)
        # One pair of generators for all steps: set_random_seed would start each step at the same number, so that a
        # picture's scale, place and mirroring went together.
        transform.set_random_state(np.random.default_rng(words[0]), random.Random(int(words[1])))
        changed = transform(image=image, mask=label)
        return TrainSample(changed["image"], changed["mask"])


def require_nearest_labels(transform: Any) -> None:
    """Refuse an albumentations transform or composition of which a part would blend labels.

    Raises InputError naming the part: only nearest-neighbour sampling leaves labels what they are.
    """
    for part in getattr(transform, "transforms", []):
        require_nearest_labels(part)
    name = transform.__class__.__name__
    nearest = (cv2.INTER_NEAREST, cv2.INTER_NEAREST_EXACT)
    if getattr(transform, "mask_interpolation", None) not in (None, *nearest):
        raise InputError(f"{name}: labels must be resized with mask_interpolation=INTER_NEAREST.")
    if getattr(transform, "area_for_downscale", None) == "image_mask":
        raise InputError(f"{name}: area_for_downscale=image_mask blends labels.")


def _scale_limits(scales: Sequence[float], scale_range: Sequence[float] | None) -> list[tuple[float, float]]:
    """Return the ranges to choose from, each as likely: one a listed scale, or the one given."""
    key, given = ("scales", scales) if scale_range is None else ("scale_range", scale_range)
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise InputError(f"data.{key}={given}: give a list; data.scales=[1.0] is no scaling.")
    if not given or min(given) <= 0 or max(given) > _LARGEST_SCALE:
        raise InputError(
            f"data.{key}={list(given)}: give at least one scale, all above 0 and none above {_LARGEST_SCALE:.0f}; "
            "data.scales=[1.0] is no scaling."
        )
    if scale_range is None:
        return [(scale, scale) for scale in scales]
    if len(scale_range) != 2 or scale_range[0] > scale_range[1]:
        raise InputError(f"data.scale_range={list(scale_range)}: give the smallest and the largest scale.")
    return [(scale_range[0], scale_range[1])]


def _scaling(limits: Sequence[tuple[float, float]]) -> list[Any]:
    import albumentations

    if list(limits) == [(1.0, 1.0)]:
        return []
    choices = [
        albumentations.RandomScale(
            (low - 1, high - 1),
            interpolation=cv2.INTER_LINEAR,
            mask_interpolation=cv2.INTER_NEAREST,
            area_for_downscale=None,
            p=1.0,
        )
        for low, high in limits
    ]
    return [albumentations.OneOf(choices, p=1.0)]


def _color_jitter(ranges: Mapping[str, float] | None) -> list[Any]:
    import albumentations

    if ranges is None:
        return []
    known = ("brightness", "contrast", "saturation", "hue")
    if (
        not isinstance(ranges, Mapping)
        or not set(ranges) <= set(known)
        or not all(isinstance(each, int | float) and each >= 0 for each in ranges.values())
    ):
        given = dict(ranges) if isinstance(ranges, Mapping) else ranges
        raise InputError(
            f"data.color_jitter={given}: its keys are {', '.join(known)}, each 0 or more, as in '{{brightness: 0.2}}'; "
            "null leaves colours as they are."
        )
    return [albumentations.ColorJitter(**{key: ranges.get(key, 0.0) for key in known}, p=1.0)]


def _to_float(image: UInt8Array, **_: Any) -> npt.NDArray[np.float32]:
    return image.astype(np.float32)
