from itertools import pairwise

import numpy as np
import pytest
import torch

from deeplab.inference.probabilities import Inference
from deeplab.inference.tiles import Span, blend, blending_weights, cut

# The receptive radius of 10 is 3/8 of this: the outer 3/8 of an overlap are not used.
ENOUGH = 28


def tiled(**settings):
    return Inference(max_pixels=1, **settings)


@pytest.mark.parametrize("cells", range(1, 60))
@pytest.mark.parametrize(("tile", "overlap"), [(1, 0), (5, 0), (5, 2), (9, 8), (20, 10)])
def test_tiles_cover_everything_with_the_overlap_asked_for(cells, tile, overlap):
    spans = cut(cells, tile, overlap)
    assert spans[0].start == 0
    assert spans[-1].stop == cells
    assert len({span.size for span in spans}) == 1
    assert spans[0].size <= tile
    for one, other in pairwise(spans):
        assert one.start < other.start
        assert one.stop - other.start >= overlap
    # No smaller number of tiles would do.
    fewer = len(spans) - 1
    assert fewer == 0 or fewer * (tile - overlap) + overlap < cells


@pytest.mark.parametrize("overlap", [0, 1, 3, 4, 16, 31])
def test_weights_sum_to_one_and_leave_out_the_rim(overlap):
    spans = [Span(0, 33), Span(33 - max(1, overlap), 66 - max(1, overlap))]
    first, second = blending_weights(spans, overlap)
    total = torch.zeros(spans[1].stop)
    total[: spans[0].stop] += first
    total[spans[1].start :] += second
    torch.testing.assert_close(total, torch.ones_like(total))
    margin = 3 * overlap // 8
    assert first[0] == second[-1] == 1
    assert not first[33 - margin :].any()
    assert not second[:margin].any()
    assert (first.diff() <= 0).all()
    assert (second.diff() >= 0).all()


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        ([Span(0, 10), Span(6, 16), Span(9, 19)], [Span(0, 8), Span(5, 13)]),  # three tiles over one row
        ([Span(0, 12)], [Span(0, 7), Span(4, 11), Span(6, 13)]),
        ([Span(0, 5), Span(5, 10)], [Span(0, 9)]),  # no overlap at all
    ],
)
def test_blending_equals_the_weighted_mean_of_whole_tiles(rows, columns):
    generator = torch.Generator().manual_seed(0)
    tiles = {
        (row, column): torch.rand(3, row.size, column.size, generator=generator) for row in rows for column in columns
    }
    weighted = torch.zeros(3, rows[-1].stop, columns[-1].stop)
    total = torch.zeros_like(weighted)
    for row, row_weight in zip(rows, blending_weights(rows, 2), strict=True):
        for column, column_weight in zip(columns, blending_weights(columns, 2), strict=True):
            weight = row_weight[:, None] * column_weight
            weighted[:, row.start : row.stop, column.start : column.stop] += weight * tiles[row, column]
            total[:, row.start : row.stop, column.start : column.stop] += weight
    got = torch.full_like(weighted, torch.nan)
    for top, left, block in blend(rows, columns, 2, lambda row, column: tiles[row, column].clone()):
        place = got[:, top : top + block.shape[1], left : left + block.shape[2]]
        assert place.isnan().all()  # each pixel once
        place.copy_(block)
    torch.testing.assert_close(got, weighted / total)


@pytest.mark.parametrize("size", [(50, 70), (49, 65), (1, 1), (97, 200)])
def test_one_tile_over_the_whole_picture_changes_nothing(tiny, picture, size):
    image = picture(*size)
    whole = Inference().probabilities(tiny, image)
    assert torch.equal(tiled(tile=201, overlap=64).probabilities(tiny, image), whole)


@pytest.mark.parametrize("size", [(161, 130), (70, 301), (200, 61), (99, 99)])
@pytest.mark.parametrize("flip", [False, True])
def test_tiles_equal_the_whole_where_the_overlap_exceeds_the_receptive_field(tiny, picture, size, flip):
    image = picture(*size)
    whole = Inference(flip=flip).probabilities(tiny, image)
    tiny.seen.clear()
    got = tiled(tile=81, overlap=ENOUGH, flip=flip).probabilities(tiny, image)
    assert len(tiny.seen) > 1
    assert max(max(seen) for seen in tiny.seen) <= 81
    torch.testing.assert_close(got, whole, atol=1e-6, rtol=0)


def test_a_short_overlap_differs_near_the_seams_only(tiny, picture):
    image = picture(65, 161)
    whole = Inference().probabilities(tiny, image)
    difference = (tiled(tile=89, overlap=16).probabilities(tiny, image) - whole).abs().amax(dim=(0, 1))
    seam = slice(80 - 8 - tiny.RADIUS, 80 + 8 + tiny.RADIUS)  # two tiles of 89: 0..88 and 72..160
    assert difference[seam].max() > 1e-3
    difference[seam] = 0
    assert difference.max() < 1e-6


def test_stretched_logits_of_tiles_equal_the_whole_on_full_cells(tiny, picture):
    image = picture(160, 200)
    whole = Inference(align_corners=False).probabilities(tiny, image)
    tiny.seen.clear()
    got = tiled(tile=80, overlap=ENOUGH, align_corners=False).probabilities(tiny, image)
    assert len(tiny.seen) > 1
    torch.testing.assert_close(got, whole, atol=1e-6, rtol=0)
    ragged = tiled(tile=80, overlap=ENOUGH, align_corners=False).probabilities(tiny, image[:157, :198])
    assert ragged.shape == (5, 157, 198)
    torch.testing.assert_close(ragged.sum(0), torch.ones(157, 198))


@pytest.mark.parametrize("size", [(161, 130), (98, 77), (1, 400)])
def test_labels_by_tiles_are_those_of_the_blended_probabilities(tiny, picture, size):
    image = picture(*size)
    inference = tiled(tile=65, overlap=16, scales=[1, 0.5])
    labels = inference.labels(tiny, image)
    assert torch.equal(labels.long(), inference.probabilities(tiny, image).argmax(0))


def test_only_pictures_over_max_pixels_are_tiled(tiny, picture):
    inference = Inference(max_pixels=60 * 80, tile=41, overlap=8)
    inference.labels(tiny, picture(60, 80))
    assert tiny.seen == [(61, 81)]
    tiny.seen.clear()
    inference.labels(tiny, picture(61, 80))
    assert max(max(seen) for seen in tiny.seen) <= 41


@pytest.mark.parametrize(("tile", "overlap"), [(1, 0), (5, 3), (16, 15)])
def test_tiles_smaller_than_the_networks_grid_still_advance(sampler, picture, tile, overlap):
    network = sampler(5, 4, 16)
    image = picture(40, 50)
    torch.testing.assert_close(
        tiled(tile=tile, overlap=overlap).probabilities(network, image), Inference().probabilities(network, image)
    )


def test_labels_hold_no_more_than_a_band_of_tiles(tiny, picture, monkeypatch):
    """No tensor of classes x whole picture is ever made: count the elements of all that blending allocates."""
    image = picture(401, 300)
    largest = []
    original = torch.Tensor.new_empty

    def counted(self, *arguments, **options):
        result = original(self, *arguments, **options)
        largest.append(result.numel())
        return result

    monkeypatch.setattr(torch.Tensor, "new_empty", counted)
    tiled(tile=81, overlap=16).labels(tiny, image)
    assert 0 < max(largest) <= 5 * (16 + 2 * 4 + 1) * 301
    assert max(seen[0] * seen[1] for seen in tiny.seen) <= 81 * 81
    assert np.prod(image.shape[:2]) > 10 * 81 * 81
