"""The search on tiny pictures, against a direct loop over DenseCRF."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console

from deeplab.crf import CRFParams, DenseCRF
from deeplab.crf_search.cells import Cell, grid
from deeplab.crf_search.gain import Gain
from deeplab.crf_search.heat_map import panels, write_heat_map
from deeplab.crf_search.prepared import read_prepared
from deeplab.crf_search.report import best_yaml, sentences, table, write_report
from deeplab.crf_search.scorer import Scorer
from deeplab.crf_search.search import Comparison, Found, Plan, draw, search
from deeplab.crf_search.sources import SavedScores
from deeplab.crf_search.store import Results
from deeplab.crf_search.tallies import tally
from deeplab.data.labels import LabelRule
from deeplab.data.reading import read_mask, read_picture
from deeplab.data.samples import FilePictures
from deeplab.errors import InputError
from deeplab.metrics.confusion import confusion
from deeplab.metrics.intervals import Interval
from deeplab.metrics.scores import scores

K = 3
FIXED = CRFParams(iterations=3)
COARSE = {
    "bilateral_weight": [2, 5],
    "bilateral_xy_std": [5, 20],
    "bilateral_rgb_std": [10],
    "gaussian_weight": [3],
    "gaussian_xy_std": [3],
}
REFINE = {axis: [0.0] for axis in COARSE} | {"bilateral_xy_std": [-3, 3]}


class Source(SavedScores):
    """Counts what is prepared, and can fail like a machine that is switched off."""

    def __init__(self, folder: Path) -> None:
        names = [f"p{number}" for number in range(6)]
        files = {kind: [folder / kind / f"{name}.png" for name in names] for kind in ("images", "labels")}
        pictures = FilePictures(names, files["images"], files["labels"])
        super().__init__(pictures, LabelRule(K), folder / "probs")
        self.prepared: list[int] = []
        self.fails_at: int | None = None

    def prepare(self, index: int, path: Path) -> None:
        if index == self.fails_at:
            raise KeyboardInterrupt
        self.prepared.append(index)
        super().prepare(index, path)


def scorer(source: Source, results: Results, folder: Path, fixed: CRFParams = FIXED) -> Scorer:
    return Scorer(source, results, folder / "cache", fixed, "auto", 1, Console(file=StringIO()))


def directly(folder: Path, names: list[str], params: CRFParams | None) -> float:
    """mIoU by the plain way: torch's interpolation, DenseCRF, one confusion matrix."""
    matrix = torch.zeros(K, K, dtype=torch.int64)
    for name in names:
        label = torch.from_numpy(read_mask(folder / "labels" / f"{name}.png"))
        logits = torch.from_numpy(np.load(folder / "probs" / f"{name}.npz")["logits"]).float()
        probs = F.interpolate(logits[None], label.shape, mode="bilinear", align_corners=False)[0].softmax(0)
        if params is not None:
            probs = DenseCRF(params, num_threads=1)(probs, read_picture(folder / "images" / f"{name}.png"))
        matrix += confusion(probs.argmax(0), label, K)
    miou = scores(matrix)["miou"]
    assert miou is not None
    return miou


def test_scores_are_those_of_a_direct_loop(photos: Path, tmp_path: Path) -> None:
    source = Source(photos)
    searched, held_out = draw(source.ids, 4, None, seed=1)
    results = Results(tmp_path / "r.jsonl", K)
    with scorer(source, results, tmp_path) as work:
        found = search(Plan(COARSE, REFINE, bootstrap=50), work, searched, held_out)
    names, others = ([source.ids[i] for i in some] for some in (searched, held_out))
    assert not set(names) & set(others)
    assert len(names) + len(others) == 6
    expected = {cell: directly(photos, names, cell.params(FIXED)) for cell in found.mious}
    assert found.mious == pytest.approx(expected, abs=1e-9)
    assert set(grid(COARSE)) < set(expected)
    assert expected[found.best] == max(expected.values())
    assert found.coarse_best == max(grid(COARSE), key=lambda cell: expected[cell])
    assert {cell.bilateral_xy_std for cell in set(expected) - set(grid(COARSE))} == {
        found.coarse_best.bilateral_xy_std + step for step in (-3, 3)
    }
    assert found.searched.miou == pytest.approx(directly(photos, names, None), abs=1e-9)
    assert found.held_out is not None
    assert found.held_out.miou == pytest.approx(directly(photos, others, None), abs=1e-9)
    assert found.held_out.miou_crf == pytest.approx(directly(photos, others, found.best.params(FIXED)), abs=1e-9)
    # What was searched stays ready for another search; of the others nothing is left on the disk.
    assert {path.stem for path in (tmp_path / "cache").rglob("*.npz")} == set(names)


def test_held_out_pictures_without_labels_are_no_check(photos: Path, tmp_path: Path) -> None:
    searched, held_out = [0, 1], [4, 5]
    for i in held_out:
        Image.fromarray(np.full((20 + i, 26), 255, np.uint8)).save(photos / "labels" / f"p{i}.png")
    plan, source = Plan(COARSE, REFINE, refine_rounds=0, bootstrap=10), Source(photos)
    with scorer(source, Results(tmp_path / "r.jsonl", K), tmp_path) as work:
        found = search(plan, work, searched, held_out)
        with pytest.raises(InputError, match="No pixel of the pictures is labelled"):
            search(plan, work, held_out, searched)
    assert found.held_out is None
    write_report(tmp_path / "report", found, FIXED, {})
    assert json.loads((tmp_path / "report" / "search.json").read_text())["held_out"] is None


def test_a_damaged_cache_is_named(photos: Path, tmp_path: Path) -> None:
    source = Source(photos)
    source.prepare(0, tmp_path / "cache" / "p0.npz")
    path = tmp_path / "cache" / "p0.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
    content[-30:-28] = b"\x63\x63"
    for damaged in (content, content[:200], b"", b"PK\x03\x04"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"p0\.npz cannot be read .*; remove it and run the search again"):
            read_prepared(path)


def test_raw_scores_as_unary(photos: Path, tmp_path: Path) -> None:
    fixed = CRFParams(iterations=3, unary="logits")
    source = Source(photos)
    with scorer(source, Results(tmp_path / "r.jsonl", K), tmp_path, fixed) as work:
        [counts] = work.score([0], [grid(COARSE)[0]], "x")
    logits = torch.from_numpy(np.load(photos / "probs" / "p0.npz")["logits"]).float()
    label = read_mask(photos / "labels" / "p0.png")
    raw = F.interpolate(logits[None], label.shape, mode="bilinear", align_corners=False)[0].numpy()
    refined = DenseCRF(grid(COARSE)[0].params(fixed))(raw, read_picture(photos / "images" / "p0.png"))
    np.testing.assert_array_equal(counts[0], tally(label, refined.argmax(0), K))


def test_an_interrupted_search_goes_on_where_it_stood(photos: Path, tmp_path: Path) -> None:
    plan, source = Plan(COARSE, REFINE, refine_rounds=0, bootstrap=10), Source(photos)
    source.fails_at = 3
    results = Results(tmp_path / "r.jsonl", K)
    with pytest.raises(KeyboardInterrupt), scorer(source, results, tmp_path) as work:
        work.score([0, 1, 2], [None, *grid(COARSE)][:3], "before")
        search(plan, work, range(6), [])
    results.close()
    assert source.prepared == [0, 1, 2]
    lines = (tmp_path / "r.jsonl").read_text().splitlines()
    source.fails_at = None
    again = Results(tmp_path / "r.jsonl", K)
    with scorer(source, again, tmp_path) as work:
        found = search(plan, work, range(6), [])
        assert work.num_scored == 6 * 5 - len(lines)
    assert source.prepared == [0, 1, 2, 3, 4, 5]
    everything = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert len({(line["id"], str(line["cell"])) for line in everything}) == len(everything) == 6 * 5
    # A third time nothing is left to do, and no process is started.
    with scorer(source, again, tmp_path) as work:
        assert search(plan, work, range(6), []) == found
        assert work.num_scored == 0
        assert work._pool is None


def test_a_picture_that_cannot_be_scored_is_named(photos: Path, tmp_path: Path) -> None:
    source = Source(photos)
    np.savez(photos / "probs" / "p2.npz", logits=np.zeros((K + 1, 4, 4), np.float32))
    with (
        pytest.raises(InputError, match=r"p2\.npz: scores of 4 classes, but the data have 3"),
        scorer(source, Results(tmp_path / "r.jsonl", K), tmp_path) as work,
    ):
        work.score([2], [None], "x")


def test_pictures_are_drawn_by_seed_and_name_alone() -> None:
    ids = [f"x{number}" for number in range(30)]
    chosen, rest = draw(ids, 10, 5, seed=0)
    again, _ = draw(ids[::-1], 10, 5, seed=0)
    assert [ids[i] for i in chosen] == [ids[::-1][i] for i in again]
    assert len(chosen) == 10
    assert len(rest) == 5
    assert draw(ids, 10, 5, seed=1)[0] != chosen
    assert len(draw(ids, 100, None, seed=0)[0]) == 30
    with pytest.raises(InputError, match=r"search\.num_pictures=0"):
        draw(ids, 0, None, seed=0)


def found(best: float, gain: Gain | None) -> Found:
    mious = {Cell(30, 3, 3, w1, 3): best - 0.01 * (w1 - 3) for w1 in (3, 4, 5)}
    mious |= {Cell(40, 4, 3, 3, 3): best - 0.02}
    cell = Cell(30, 3, 3, 3, 3)
    others = None if gain is None else Comparison(7, 0.5, 0.5 + gain.gain, gain)
    return Found(mious, 4, cell, cell, Comparison(5, 0.6, best, Gain(best - 0.6, Interval(-0.01, 0.02))), others)


def test_the_sentences_are_honest() -> None:
    worse = " ".join(sentences(found(0.58, Gain(-0.02, Interval(-0.03, -0.01)))))
    assert "None of the 4 settings beats no CRF" in worse
    assert "does harm on pictures that took no part" in worse
    assert "On the 5 pictures searched, " in worse
    assert "On 7 other pictures, " in worse
    single = replace(found(0.58, None), searched=Comparison(1, 0.6, 0.58, Gain(-0.02, Interval(None, None))))
    assert sentences(single)[0].startswith("On the 1 picture searched, ")
    better = " ".join(sentences(found(0.63, Gain(0.02, Interval(0.01, 0.03)))))
    assert "beats no CRF" not in better
    assert "mIoU 63.00 against 60.00 without the CRF: +3.00 points, 95 % interval -1.00 to +2.00" in better
    assert "So the CRF helps on pictures that took no part" in better
    assert "The interval holds 0: " in " ".join(sentences(found(0.63, Gain(0.02, Interval(-0.01, 0.03)))))
    unknown = " ".join(sentences(found(0.63, Gain(0.02, Interval(None, None)))))
    assert "+2.00 points, its interval cannot be measured on these pictures." in unknown
    assert "There is no interval: on pictures that took no part in the search, no gain or loss is shown." in unknown
    alone = " ".join(sentences(found(0.63, None)))
    assert "All pictures with labels were searched" in alone
    assert "outermost tried of bilateral_weight: wider ranges" in alone


def test_the_heat_map_shows_the_coarse_grid_and_the_refinement_apart() -> None:
    coarse = [Cell(xy, rgb, 3, w1, 3) for xy in (30, 40, 50) for rgb in (3, 4) for w1 in (5, 6)]
    new = [Cell(xy, rgb, 3, 6, 3) for xy in (27, 33) for rgb in (3, 4, 5)]
    mious = {cell: 0.5 + cell.bilateral_xy_std / 1000 for cell in coarse} | dict.fromkeys(new, 0.55)
    nothing = Comparison(5, 0.6, 0.6, Gain(0, Interval(None, None)))
    result = Found(mious, len(coarse), Cell(50, 4, 3, 6, 3), new[0], nothing, None)
    grid_panel, refined_panel = panels(result)
    assert set(grid_panel[2]) == {cell for cell in coarse if cell.bilateral_weight == 6}
    assert set(refined_panel[2]) == {*new, Cell(30, 3, 3, 6, 3), Cell(30, 4, 3, 6, 3)}
    [points] = panels(replace(result, coarse=0))
    assert list(points[2]) == list(mious)


def test_the_report_is_written(tmp_path: Path) -> None:
    result = found(0.63, None)
    write_report(tmp_path, result, FIXED, {"ids": ["a"]})
    assert (tmp_path / "heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "cells.csv").read_text().splitlines()) == 5
    document = json.loads((tmp_path / "search.json").read_text())
    assert document["improves"] is True
    assert document["best"]["bilateral_xy_std"] == 30
    assert (tmp_path / "crf" / "best.yaml").read_text() == best_yaml(result, FIXED)
    assert table(result).row_count == 5
    write_heat_map(tmp_path / "points.png", replace(result, coarse=0))
    assert (tmp_path / "points.png").read_bytes().startswith(b"\x89PNG")
