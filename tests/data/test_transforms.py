"""The training transform against its definition: resize, pad, crop, mirror done by hand."""

import pickle
from collections import Counter
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pytest

from deeplab.data.reading import UInt8Array
from deeplab.data.transforms import TrainTransform, require_nearest_labels
from deeplab.errors import InputError

MEAN_RGB = (122.675, 116.669, 104.008)
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5)
FLOAT_MEAN = np.asarray(MEAN_RGB, dtype=np.float32)


def transform(
    crop_size: int = 16, scales: Sequence[float] = SCALES, mirror: bool = True, seed: int = 0
) -> TrainTransform:
    return TrainTransform(crop_size, scales, mirror, MEAN_RGB, seed)


def picture(height: int, width: int, seed: int = 0) -> tuple[UInt8Array, UInt8Array]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return image, rng.choice(np.array([0, 3, 7, 20, 255], dtype=np.uint8), (height, width))


def explain(
    image: UInt8Array, label: UInt8Array, out_image: np.ndarray, out_label: np.ndarray, scales: Sequence[float]
) -> tuple[float, int, int, bool] | None:
    """Find the scale, place and mirroring that give the output, by resizing and padding with OpenCV and NumPy alone."""
    crop = out_label.shape[0]
    height, width = label.shape
    for scale in scales:
        size = (int(width * scale), int(height * scale))
        scaled = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR).astype(np.float32)
        nearest = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
        below, right = max(0, crop - size[1]), max(0, crop - size[0])
        padded = np.broadcast_to(FLOAT_MEAN, (size[1] + below, size[0] + right, 3)).copy()
        padded[: size[1], : size[0]] = scaled
        labels = np.pad(nearest, ((0, below), (0, right)), constant_values=255)
        for top in range(padded.shape[0] - crop + 1):
            for left in range(padded.shape[1] - crop + 1):
                cut, cut_label = (
                    padded[top : top + crop, left : left + crop],
                    labels[top : top + crop, left : left + crop],
                )
                for mirrored in (False, True):
                    step = -1 if mirrored else 1
                    if np.array_equal(out_image, cut[:, ::step]) and np.array_equal(out_label, cut_label[:, ::step]):
                        return scale, top, left, mirrored
    return None


@pytest.mark.parametrize("size", [(21, 30), (12, 40), (10, 11)])
def test_every_output_is_a_scaled_padded_cropped_mirrored_picture(size: tuple[int, int]) -> None:
    image, label = picture(*size)
    found = []
    for epoch in range(12):
        out = transform()(image, label, epoch, picture=5)
        assert out.image.shape == (16, 16, 3) and out.image.dtype == np.float32
        assert out.label.shape == (16, 16) and out.label.dtype == np.uint8
        found.append(explain(image, label, out.image, out.label, SCALES))
    assert None not in found
    assert len(set(found)) > 3


def test_padding_is_the_mean_to_the_last_bit_and_void() -> None:
    image, label = picture(5, 7)
    label[label == 255] = 0
    out = transform(crop_size=9, scales=[1.0], mirror=False)(image, label, 0, 0)
    padded = out.label == 255
    assert padded[5:].all() and padded[:, 7:].all() and not padded[:5, :7].any()
    assert (out.image[padded] == FLOAT_MEAN).all()
    assert np.array_equal(out.image[:5, :7], image)


def test_scale_place_and_mirroring_are_drawn_independently() -> None:
    image, label = picture(24, 24)
    drawn: Counter[tuple[float, bool, bool]] = Counter()
    change = transform(crop_size=23, scales=[1.0, 1.25])
    for index in range(240):
        out = change(image, label, 0, index)
        found = explain(image, label, out.image, out.label, [1.0, 1.25])
        assert found is not None
        scale, top, _, mirrored = found
        drawn[scale, top >= (1 if scale == 1.0 else 4), mirrored] += 1
    assert len(drawn) == 8
    assert min(drawn.values()) > 15 and max(drawn.values()) < 50  # 30 expected


def test_a_range_of_scales_is_drawn_uniformly() -> None:
    # A step edge in the middle: where it lies in the output tells the scale.
    image = np.zeros((100, 100, 3), dtype=np.uint8)
    label = np.zeros((100, 100), dtype=np.uint8)
    change = TrainTransform(300, SCALES, False, MEAN_RGB, 0, scale_range=(0.5, 2.0))
    sides = [(change(image, label, 0, i).label[0] == 0).sum() for i in range(300)]
    assert min(sides) >= 50 and max(sides) <= 200
    counts, _ = np.histogram(sides, bins=5, range=(50, 200))
    assert counts.min() > 35 and counts.max() < 90  # 60 expected


def test_draws_depend_on_seed_epoch_and_picture_only() -> None:
    image, label = picture(40, 50)
    keys = [(0, 1), (0, 2), (1, 1), (7, 2)]
    change = transform()
    first = {key: change(image, label, *key) for key in keys}
    again = pickle.loads(pickle.dumps(transform()))
    for key in reversed(keys):
        out = again(image, label, *key)
        assert np.array_equal(out.image, first[key].image) and np.array_equal(out.label, first[key].label)
    assert len({first[key].image.tobytes() for key in keys}) == len(keys)
    assert not np.array_equal(transform(seed=1)(image, label, 0, 1).image, first[0, 1].image)


def test_no_scale_and_no_mirror_leave_the_crop() -> None:
    image, label = picture(16, 16)
    out = transform(scales=[1.0], mirror=False)(image, label, 3, 4)
    assert np.array_equal(out.image, image) and np.array_equal(out.label, label)


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (3, 1)])
def test_pictures_of_a_pixel(size: tuple[int, int]) -> None:
    image, label = picture(*size)
    for index in range(20):
        out = transform()(image, label, 0, index)
        assert out.image.shape == (16, 16, 3)
        assert (out.image[-1] == FLOAT_MEAN).all() and (out.label[-1] == 255).all()


def test_color_jitter_changes_colours_and_leaves_labels_and_padding() -> None:
    image, label = picture(12, 12)
    label[label == 255] = 0
    jitter = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
    out = TrainTransform(16, [1.0], False, MEAN_RGB, 0, jitter)(image, label, 0, 0)
    assert not np.array_equal(out.image[:12, :12], image)
    assert np.array_equal(out.label[:12, :12], label)
    assert (out.image[12:] == FLOAT_MEAN).all()
    assert out.image.min() >= 0 and out.image.max() <= 255


def test_labels_are_never_blended() -> None:
    image, _ = picture(50, 60)
    label = np.where(np.indices((50, 60)).sum(0) % 2, np.uint8(20), np.uint8(0))
    for index in range(30):
        assert set(np.unique(transform(40)(image, label, 0, index).label)) <= {0, 20, 255}


def test_the_guard_finds_a_blending_transform_however_deep() -> None:
    import albumentations as A

    require_nearest_labels(A.Compose([A.OneOf([A.RandomScale(), A.HorizontalFlip()])]))
    blending = A.RandomScale(mask_interpolation=cv2.INTER_LINEAR)
    with pytest.raises(InputError, match=r"RandomScale.*INTER_NEAREST"):
        require_nearest_labels(A.Compose([A.OneOf([A.HorizontalFlip(), blending])]))
    with pytest.raises(InputError, match="blends labels"):
        require_nearest_labels(A.RandomScale(area_for_downscale="image_mask"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: transform(crop_size=0), "crop_size=0"),
        (lambda: transform(scales=[]), "scales"),
        (lambda: transform(scales=[0.5, 0]), "scales"),
        (lambda: TrainTransform(8, SCALES, True, MEAN_RGB, 0, scale_range=(2.0, 1.0)), "scale_range"),
        (lambda: TrainTransform(8, SCALES, True, MEAN_RGB, 0, scale_range=(0.5,)), "scale_range"),
        (lambda: TrainTransform(8, SCALES, True, MEAN_RGB, 0, scale_range=()), "scale_range"),
        (lambda: TrainTransform(8, [1.0], True, (1.0, 2.0), 0), "pad_rgb"),
        (lambda: TrainTransform(8, [1.0], True, MEAN_RGB, 0, {"gamma": 0.1}), "color_jitter"),
        (lambda: TrainTransform(8, [1.0], True, MEAN_RGB, 0, {"hue": -0.1}), "color_jitter"),
    ],
)
def test_values_that_cannot_be(make: Callable[[], TrainTransform], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()
