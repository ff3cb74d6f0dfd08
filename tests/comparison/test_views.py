"""What is made of a comparison: the gallery and its gaps, Markdown, LaTeX, figures for print, the page's size."""

import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deeplab.comparison.document import compare
from deeplab.comparison.gallery import Gallery, build_gallery, choose, decode, rankings
from deeplab.comparison.run import read_runs
from deeplab.comparison.run_folders import find_runs
from deeplab.comparison_views import page as page_module
from deeplab.comparison_views.charts import group_charts
from deeplab.comparison_views.figures import write_figures
from deeplab.comparison_views.latex import class_table, escape
from deeplab.comparison_views.markdown import best_first, markdown
from deeplab.comparison_views.page import page
from deeplab.config.run_pictures import RunPictures
from deeplab.data.palette import voc_palette
from deeplab.data.scene_drawing import CLASS_NAMES
from deeplab.data.scenes import Scenes
from deeplab.reporting.predictions import write_labels

MakeRun = Callable[..., Path]


def both_of(folder: Path, most: int = 40, seed: int | None = None) -> tuple[dict[str, Any], Gallery]:
    document, groups = compare(read_runs(find_runs([folder])), 100, seed=0)
    return document, build_gallery(groups, most, seed, RunPictures(None))


@pytest.fixture
def pair(tmp_path: Path, run_in: MakeRun) -> Path:
    run_in("sweep/0", head="ASPP-S", quality=0.5)
    run_in("sweep/1", head="ASPP-L", quality=0.9)
    return tmp_path / "sweep"


def test_the_gallery_holds_pictures_truth_and_predictions_as_they_are(pair: Path) -> None:
    _, gallery = both_of(pair)
    assert [layer["key"] for layer in gallery.layers] == ["truth", "0", "0c", "1", "1c"]
    picture = gallery.pictures[3]
    sample = Scenes({"val": 12}, 40, 56).split("val")[3]
    assert picture["id"] == sample["id"]
    np.testing.assert_array_equal(decode(picture["layers"]["truth"]), sample["label"])
    with Image.open(pair / "0" / "predictions_crf" / f"{sample['id']}.png") as image:
        np.testing.assert_array_equal(decode(picture["layers"]["0c"]), np.array(image))
    assert np.abs(np.array(decode(picture["image"]), dtype=int) - sample["image"]).mean() < 12
    assert gallery.problems == []


def test_the_orders_put_first_what_they_name() -> None:
    before = np.array([[0.5, 0.5], [0.2, 0.9], [0.1, 0.1]])
    after = np.array([[0.8, 0.8], [0.2, 0.9], [0.05, 0.05]])
    first = {name: int(np.argmax(rank)) for name, rank in rankings(before, after).items()}
    assert first == {"differ": 1, "worst": 2, "helped": 0, "hurt": 2}


def test_more_pictures_than_fit_are_chosen_for_the_orders() -> None:
    rng = np.random.default_rng(0)
    ranks = rankings(rng.random((300, 3)), rng.random((300, 3)))
    chosen = choose(ranks, 300, 40)
    assert len(set(chosen)) == 40 and chosen == sorted(chosen)
    assert all(int(np.argmax(rank)) in chosen for rank in ranks.values())
    assert choose(ranks, 30, 40) == list(range(30))


def test_missing_layers_are_said_and_the_rest_is_shown(pair: Path) -> None:
    shutil.rmtree(pair / "0" / "predictions_crf")
    (pair / "1" / "predictions" / "val_000002.png").unlink()
    (pair / "1" / "predictions" / "val_000003.png").write_bytes(b"no picture")
    _, gallery = both_of(pair)
    told = " ".join(gallery.problems)
    assert "for no predictions_crf/ lies in " in told
    assert "val_000002.png: there is no such file (and 1 more)" in told
    assert "1" not in gallery.pictures[2]["layers"] and "1c" in gallery.pictures[2]["layers"]


@pytest.mark.parametrize(("data", "sentence"), [(True, "its picture 56x40"), (False, "another layer 56x40")])
def test_labels_of_another_size_are_left_out(data: bool, sentence: str, pair: Path) -> None:
    path = pair / "1" / "predictions" / "val_000002.png"
    with Image.open(path) as image:
        image.resize((112, 60)).save(path)
    if not data:
        for metrics in pair.glob("*/metrics.json"):
            document = json.loads(metrics.read_text())
            document["config"]["data"]["layout"] = {"_target_": "deeplab.data.voc.VOC", "root": "/nowhere"}
            metrics.write_text(json.dumps(document))
    _, gallery = both_of(pair)
    assert f"val_000002.png: it is 112x60, {sentence}" in " ".join(gallery.problems)
    assert "1" not in gallery.pictures[2]["layers"] and {"0", "0c", "1c"} <= gallery.pictures[2]["layers"].keys()


@pytest.mark.parametrize("name", ["../../secret", "{absolute}", "linked", "loop", "a\0b", "long" * 100])
def test_no_file_is_read_outside_the_runs_folder(name: str, pair: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    write_labels(secret, np.full((40, 56), 7, np.uint8), voc_palette())
    name = name.format(absolute=secret.with_suffix(""))
    for folder in (pair / "0", pair / "1"):
        (folder / "predictions" / "linked.png").symlink_to(secret)
        (folder / "predictions" / "loop.png").symlink_to("loop.png")
        arrays = dict(np.load(folder / "per_picture.npz"))
        arrays["ids"] = np.array([name, *arrays["ids"][1:]])
        np.savez(folder / "per_picture.npz", **arrays)
    document, gallery = both_of(pair)
    assert "0" not in gallery.pictures[0]["layers"] and "0" in gallery.pictures[1]["layers"]
    outside = [said for said in gallery.pictures[0]["missing"] if "leads out of the run's folder" in said]
    assert len(outside) == (0 if name in ("loop", "a\0b", "long" * 100) else 2 if name == "linked" else 4)
    assert "A layer is missing" in " ".join(gallery.problems)
    page(document, gallery)


@pytest.mark.parametrize(
    ("layout", "sentence"),
    [
        ({"_target_": "deeplab.data.voc.VOC", "root": "/nowhere"}, "data.root"),
        ({"_target_": "os.system", "command": "true"}, "is no data set"),
        ({}, "names no data set"),
    ],
)
def test_data_that_cannot_be_opened(layout: dict[str, Any], sentence: str, tmp_path: Path, run_in: MakeRun) -> None:
    run_in("one")
    path = tmp_path / "one" / "metrics.json"
    document = json.loads(path.read_text())
    document["config"]["data"]["layout"] = layout
    path.write_text(json.dumps(document))
    _, gallery = both_of(tmp_path)
    assert sentence in " ".join(gallery.problems)
    assert gallery.pictures[0]["image"] is None and "0" in gallery.pictures[0]["layers"]


def test_a_seed_that_a_variant_lacks_is_said(tmp_path: Path, run_in: MakeRun) -> None:
    for number, (head, seed) in enumerate([("ASPP-S", 0), ("ASPP-S", 1), ("ASPP-L", 1), ("ASPP-L", 2)]):
        run_in(f"{number}", head=head, seed=seed)
    assert both_of(tmp_path)[1].problems == []  # both have seed 1
    assert "ASPP-S has no run of seed 2" in " ".join(both_of(tmp_path, seed=2)[1].problems)


def test_a_page_that_would_be_too_large_leaves_pictures_out(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document, gallery = both_of(pair)
    whole = len(page(document, gallery).encode())
    monkeypatch.setattr(page_module, "MOST_BYTES", whole - 10_000 + page_module._SPARE)
    smaller = page(document, gallery)
    assert len(smaller.encode()) < whole - 10_000
    assert re.search(r"\d+ of 12 pictures are shown", smaller)


def test_runs_without_predictions_are_named_in_one_sentence(pair: Path, tmp_path: Path) -> None:
    for folder in (*pair.glob("*/predictions"), *pair.glob("*/predictions_crf")):
        shutil.rmtree(folder)
    document, gallery = both_of(pair)
    (problem,) = gallery.problems
    assert problem.endswith("for no predictions/ or predictions_crf/ lies in sweep/0, sweep/1.")
    written = write_figures(tmp_path / "figures", document, gallery)
    assert not any(path.stem == "pictures" for path in written)  # a grid of photos and truth shows no result


def test_the_best_variant_stands_first(pair: Path) -> None:
    document, gallery = both_of(pair)
    assert [variant["name"] for variant in best_first(document)] == ["ASPP-L", "ASPP-S"]
    rows = re.findall(r'<th scope="row" data-value="(ASPP-.)">', page(document, gallery))
    assert rows == ["ASPP-L", "ASPP-S"]
    assert next(line for line in markdown(document).splitlines() if line.startswith("| ASPP")).startswith("| ASPP-L")


def test_empty_columns_are_left_out_and_no_gain_is_green_that_is_not_decided(pair: Path) -> None:
    document, gallery = both_of(pair, most=0)
    text = page(document, gallery)
    assert "paper after CRF" not in text and ">remarks<" not in text
    assert 'class="number up"' not in text  # one seed decides nothing
    document["variants"][0]["paper"] = {"miou": 0.6, "miou_crf": 0.7}
    document["runs"][0]["problems"] = ["something is missing"]
    text = page(document, gallery)
    assert "paper after CRF" in text and ">remarks<" in text and "something is missing" in text


def test_names_beside_an_axis_are_short(tmp_path: Path, run_in: MakeRun) -> None:
    run_in("0", optim__schedule="<b>" + "x" * 60)
    run_in("1", optim__schedule="plain")
    document, _ = both_of(tmp_path, most=0)
    for chart in group_charts(document, 0)[:2]:
        axis = next(iter(chart.figures.values()))["layout"]["yaxis"]
        parts = [part for text in axis["ticktext"] for part in text.split("<br>")]
        assert all(len(html.unescape(part)) <= 30 for part in parts) and "<b>" not in "".join(parts)
        assert any("…" in part for part in parts)


def test_markdown_has_the_verdict_and_escapes_names(tmp_path: Path, run_in: MakeRun) -> None:
    names = (*CLASS_NAMES[:-1], "a|b <script>")
    run_in("0", head="ASPP-S", quality=0.5, class_names=names)
    run_in("1", head="ASPP-L", quality=0.9, class_names=names)
    document, _ = both_of(tmp_path, most=0)
    text = markdown(document)
    assert "**ASPP-L is ahead of ASPP-S by " in text
    assert r"a\|b \<script\>" in text and "<script>" not in text


def test_latex_is_escaped_and_marks_the_best(pair: Path) -> None:
    document, _ = both_of(pair, most=0)
    table = class_table(document["groups"][0], document)
    rows = [line for line in table.splitlines() if line.startswith("ASPP")]
    assert [row.partition(" &")[0] for row in rows] == ["ASPP-L", "ASPP-S", "ASPP-L + CRF", "ASPP-S + CRF"]
    assert all(row.count("&") == len(CLASS_NAMES) + 1 for row in rows)
    assert rows[2].count(r"\textbf") == len(CLASS_NAMES)
    assert escape(r"50%_a&b\c~") == r"50\%\_a\&b\textbackslash{}c\textasciitilde{}"


@pytest.mark.slow
def test_figures_for_print(pair: Path, tmp_path: Path) -> None:
    document, gallery = both_of(pair)
    written = write_figures(tmp_path / "figures", document, gallery)
    names = {path.name for path in written}
    assert {"classes.tex", "differences.pdf", "curves_val_miou.svg", "boundaries.pdf", "pictures.svg"} <= names
    assert all(path.read_bytes()[:4] == b"%PDF" for path in written if path.suffix == ".pdf")
    assert all("<svg" in path.read_text() for path in written if path.suffix == ".svg")
    letters = re.findall(r"<!-- (\w+) -->", (tmp_path / "figures" / "pictures.svg").read_text())
    assert {"truth", "background", "ball", "mug"} <= set(letters)  # each text of an SVG is told in a comment
