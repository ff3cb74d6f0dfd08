import numpy as np
import pytest
from PIL import Image

from deeplab.reporting.legend import legend, shares
from deeplab.reporting.overlays import overlay, tinted
from deeplab.reporting.sheets import Row, sheet

NAMES = ["background", "Müller & Söhne", "cat"]
# Distinct colours; as VOC's, black for class 0 and dark red for class 1.
PALETTE = np.random.default_rng(0).permutation(256)[:, None].repeat(3, 1).astype(np.uint8)
PALETTE[:, 1] = 255 - np.arange(256)
PALETTE[0], PALETTE[1], PALETTE[255] = (0, 0, 0), (128, 0, 0), (224, 224, 192)
TITLES = ("image", "truth", "prediction", "after the CRF")


def photo(height, width):
    return np.random.default_rng(0).integers(60, 200, (height, width, 3), dtype=np.uint8)


def colours(image):
    return {colour for _, colour in image.getcolors(maxcolors=1 << 24)}


def test_tint_leaves_black_classes_mixes_others_and_outlines_in_white():
    image = np.full((20, 30, 3), 100, dtype=np.uint8)
    labels = np.zeros((20, 30), dtype=np.uint8)
    labels[:, 15:] = 1
    got = np.asarray(tinted(image, labels, PALETTE))
    assert got.shape == image.shape
    assert (got[:, :14] == 100).all()
    assert (got[:, 14:16] > 200).all()  # one pixel to each side of the border
    share = 140 / 255
    np.testing.assert_allclose(got[5, 20], share * np.array([128, 0, 0]) + (1 - share) * 100, atol=1)


def test_a_label_map_of_another_size_is_refused():
    with pytest.raises(ValueError, match="differ in size"):
        tinted(photo(4, 5), np.zeros((5, 4), np.uint8), PALETTE)


def test_shares_are_sorted_by_size_and_count_void():
    labels = np.array([[2, 2, 2, 0], [1, 255, 2, 0]], dtype=np.int64)
    assert shares([labels]) == {2: 0.5, 0: 0.25, 1: 0.125, 255: 0.125}
    assert list(shares([labels, np.zeros((4, 4), np.uint8)])) == [0, 2, 1, 255]


def test_the_legend_shows_the_classes_present_and_no_others():
    shown = colours(legend({2: 0.75, 0: 0.25}, NAMES, PALETTE, 400))
    assert tuple(PALETTE[2].tolist()) in shown
    assert tuple(PALETTE[0].tolist()) in shown
    assert tuple(PALETTE[1].tolist()) not in shown


def test_the_legend_wraps_and_loses_no_entry():
    names = [f"class number {i}" for i in range(30)]
    present = dict.fromkeys(range(30), 1 / 30)
    narrow, wide = legend(present, names, PALETTE, 300), legend(present, names, PALETTE, 3000, size=12)
    assert narrow.height > 5 * wide.height
    for image in (narrow, wide):
        assert {tuple(PALETTE[i].tolist()) for i in range(30)} <= colours(image)


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (375, 500)])
def test_an_overlay_is_the_tinted_picture_above_its_legend(size):
    image = photo(*size)
    labels = np.random.default_rng(1).integers(0, 3, size, dtype=np.uint8)
    whole = overlay(image, labels, NAMES, PALETTE)
    assert whole.mode == "RGB"
    left = (whole.width - size[1]) // 2
    got = np.asarray(whole)[: size[0], left : left + size[1]]
    np.testing.assert_array_equal(got, np.asarray(tinted(image, labels, PALETTE)))
    assert whole.height > size[0]
    assert whole.width == max(240, size[1])


def test_a_name_with_an_umlaut_is_drawn_as_such():
    drawn = [np.asarray(legend({0: 1.0}, [name], PALETTE, 300)) for name in ("Müller", "Muller", "M\ufffdller")]
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_a_sheet_has_a_panel_for_each_column_and_row():
    labels = np.zeros((60, 80), dtype=np.uint8)
    labels[10:40, 20:60] = 2
    truth = labels.copy()
    truth[:4] = 255
    image = np.full((60, 80, 3), (10, 200, 30), dtype=np.uint8)
    whole = sheet(
        [Row(image, (truth, labels, None), "one"), Row(image, (truth, labels, labels))], NAMES, TITLES, PALETTE
    )
    found = np.asarray(whole)
    ours = tuple(PALETTE[2].tolist())
    # The class's surface: truth and prediction twice, after the CRF once, at 320 x 240 (4 x 4 pixels a pixel).
    pixels = int((found == ours).all(axis=2).sum())
    assert 5 * 30 * 40 * 16 <= pixels <= 5 * 30 * 40 * 16 + 400  # and a swatch in the legend
    assert tuple(PALETTE[255].tolist()) in colours(whole)
    assert int((found == (10, 200, 30)).all(axis=2).sum()) == 2 * 320 * 240


def test_a_sheet_takes_portrait_landscape_and_tiny_pictures():
    rows = [Row(photo(h, w), (np.ones((h, w), np.uint8),) * 3, str((h, w))) for h, w in [(1, 1), (300, 20), (20, 700)]]
    whole = sheet(rows, NAMES, TITLES, PALETTE)
    assert whole.width <= 4 * 320 + 5 * 10


def test_a_sheet_without_truth_and_bad_rows():
    row = Row(photo(9, 9), (np.zeros((9, 9), np.uint8),))
    assert isinstance(sheet([row], NAMES, ("image", "prediction"), PALETTE), Image.Image)
    with pytest.raises(ValueError, match="3 label maps"):
        sheet([row], NAMES, TITLES, PALETTE)
    with pytest.raises(ValueError, match="at least one row"):
        sheet([], NAMES, TITLES, PALETTE)
