"""Bands and Boundary IoU against slow references that follow the definitions pixel by pixel."""

import numpy as np
import pytest
from scipy import ndimage

from deeplab.metrics.boundary import (
    VOID,
    band_confusion,
    boundary_counts,
    boundary_iou,
    edge_distance,
    inner_boundary,
    void_distance,
)

K = 4
SIZES = [(1, 1), (1, 9), (23, 31), (40, 17)]


def labels(size, seed, void=0.0):
    """Blobs, with a share of void."""
    draws = np.random.default_rng(seed)
    blobs = draws.integers(0, K, (-(-size[0] // 5), -(-size[1] // 5))).repeat(5, 0).repeat(5, 1)[: size[0], : size[1]]
    blobs[draws.random(size) < void] = VOID
    return blobs.astype(np.uint8)


def square(width):
    return np.ones((2 * width + 1, 2 * width + 1), dtype=bool)


def slow_confusion(prediction, label, band):
    matrix = np.zeros((K, K), dtype=np.int64)
    for truth, found in zip(label[band], prediction[band], strict=True):
        matrix[truth, found] += 1
    return matrix


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("void", [0.0, 0.02, 0.4, 1.0])
def test_trimap_bands_are_void_dilated_by_squares_without_the_void(size, void):
    label, prediction = labels(size, 1, void), labels(size, 2)
    got = band_confusion(prediction, label, void_distance(label), K, most=7)
    for width in range(1, 8):
        dilated = ndimage.binary_dilation(label == VOID, square(width))
        np.testing.assert_array_equal(got[width - 1], slow_confusion(prediction, label, dilated & (label != VOID)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("void", [0.0, 0.1])
def test_class_edge_bands(size, void):
    label, prediction = labels(size, 3, void), labels(size, 4)
    edge = np.zeros(size, dtype=bool)
    for y, x in np.ndindex(size):
        for other in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if all(0 <= a < b for a, b in zip(other, size, strict=True)) and VOID not in (label[y, x], label[other]):
                edge[y, x] |= label[y, x] != label[other]
    got = band_confusion(prediction, label, edge_distance(label), K, most=5)
    for width in range(1, 6):
        band = ndimage.binary_dilation(edge, square(width - 1)) & (label != VOID)
        np.testing.assert_array_equal(got[width - 1], slow_confusion(prediction, label, band))


def test_distances_beyond_a_byte_stay_outside_all_bands():
    label = np.zeros((2, 600), dtype=np.uint8)
    label[:, 0] = VOID
    assert void_distance(label)[0, [0, 1, 254, 255, 599]].tolist() == [0, 1, 254, 255, 255]
    label[:, 0] = 1
    assert edge_distance(label)[0, [0, 1, 2, 254, 255, 599]].tolist() == [1, 1, 2, 254, 255, 255]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("width", [1, 2, 6])
def test_inner_boundary_is_each_mask_without_its_erosion(size, width):
    label = labels(size, 5, void=0.05)
    expected = np.zeros(size, dtype=bool)
    for value in np.unique(label):
        mask = label == value
        expected |= mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=0)
    np.testing.assert_array_equal(inner_boundary(label, width), expected)


@pytest.mark.parametrize("size", SIZES)
def test_boundary_iou_counts_follow_the_definition_class_by_class(size):
    label, prediction = labels(size, 6, void=0.05), labels(size, 7)
    width = max(1, round(0.1 * np.hypot(*size)))
    got = boundary_counts(prediction, label, K, share=0.1)
    for value in range(K):
        regions = []
        for each in (label, prediction):
            mask = each == value
            eroded = ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=0)
            regions.append(mask & ~eroded & (label != VOID))
        assert got[value].tolist() == [(regions[0] & regions[1]).sum(), (regions[0] | regions[1]).sum()]


def test_boundary_iou_of_the_truth_is_one_and_of_absent_classes_nothing():
    label = np.zeros((30, 30), dtype=np.uint8)
    label[10:20, 10:20] = 1
    np.testing.assert_array_equal(boundary_iou(boundary_counts(label, label, K)), [1, 1, np.nan, np.nan])
    shifted = np.roll(label, 1, axis=1)
    assert 0 < boundary_iou(boundary_counts(shifted, label, K))[1] < 100 / 120  # thinner than the whole square's IoU
