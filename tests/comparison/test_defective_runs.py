"""Runs that failed, are damaged or lack something are shown as far as they go, every defect in a sentence."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deeplab.comparison.document import compare
from deeplab.comparison.gallery import build_gallery
from deeplab.comparison.run import read_runs
from deeplab.comparison.run_folders import find_runs
from deeplab.comparison_views.page import page
from deeplab.config.run_pictures import RunPictures
from deeplab.errors import InputError
from deeplab.reporting.liveness import process_facts

MakeRun = Callable[..., Path]
DocumentOf = Callable[..., dict[str, Any]]
Edit = Callable[..., None]


def test_failed_unfinished_and_unscored_runs_are_listed(
    tmp_path: Path, run_in: MakeRun, document_of: DocumentOf, edit: Edit
) -> None:
    run_in("good", seed=0)
    for name, state in (("failed", "failed"), ("running", "running"), ("died", "running"), ("preempted", "preempted")):
        folder = run_in(name, seed=1)
        edit(folder / "run.json", state=state, error="the disk is full")
        (folder / "metrics.json").unlink()
    edit(tmp_path / "running" / "run.json", process=process_facts())
    edit(tmp_path / "died" / "run.json", process=process_facts() | {"start": 1})
    unscored = run_in("unscored", seed=2)
    (unscored / "metrics.json").unlink()
    document = document_of(tmp_path)
    problems = {Path(run["folder"]).name: "; ".join(run["problems"]) for run in document["runs"]}
    assert problems["good"] == ""
    assert "the disk is full" in problems["failed"]
    assert problems["running"] == "it is still running"
    assert "it died without a word" in problems["died"]
    assert "preempted" in problems["preempted"]
    assert "was not evaluated" in problems["unscored"]
    assert len(document["variants"]) == 1 and document["variants"][0]["seeds"] == [0]


DAMAGE = [
    ("metrics.json", b"{", "metrics.json is not valid JSON"),
    ("metrics.json", b"[]", "metrics.json holds no JSON object"),
    ("metrics.json", b'{"miou": "high"}', "metrics.json lacks mIoU"),
    ("metrics.json", b'{"miou": 7, "iou": {}}', "metrics.json lacks mIoU"),
    ("run.json", b"\xff\xfe", "put back a copy of it; whether it ended well is not known, so it does not count"),
    ("run.json", b'{"state": "asleep"}', "state is 'asleep'"),
    ("per_picture.npz", b"PK\x03\x04", "per_picture.npz"),
    ("metrics.csv", b"\xff\xfe\x00,\n", "metrics.csv cannot be read"),
    ("metrics.csv", b"step,val/miou\n" + b"9" * 5000 + b",0.5\n", ""),
    (".hydra/hydra.yaml", b"[" * 20_000, ""),
]


@pytest.mark.parametrize(("name", "content", "sentence"), DAMAGE)
def test_a_damaged_file_is_named_and_the_rest_is_shown(
    name: str, content: bytes, sentence: str, tmp_path: Path, run_in: MakeRun, document_of: DocumentOf
) -> None:
    run_in("good", head="ASPP-S")
    damaged = run_in("damaged", head="ASPP-L")
    (damaged / name).write_bytes(content)
    document = document_of(tmp_path)
    told = {Path(run["folder"]).name: "; ".join(run["problems"]) for run in document["runs"]}
    assert sentence in told["damaged"] and told["good"] == ""
    assert [variant["name"] for variant in document["variants"]][1] == "ASPP-S"
    (state,) = [run["state"] for run in document["runs"] if run["name"].endswith("damaged")]
    assert (state == "unreadable") == (name == "run.json")
    assert name != "run.json" or document["variants"][0]["counted"] == []


def test_a_run_without_matrices_is_listed_but_not_compared(
    tmp_path: Path, run_in: MakeRun, document_of: DocumentOf
) -> None:
    run_in("good", head="ASPP-S")
    (run_in("bare", head="ASPP-L") / "per_picture.npz").unlink()
    document = document_of(tmp_path)
    assert document["groups"][0]["pairs"] == []
    assert document["variants"][0]["miou"]["count"] == 1
    assert "there is no per_picture.npz" in "".join(document["runs"][0]["problems"])
    assert any("cannot take part" in note for note in document["notes"])


def test_matrices_of_another_evaluation_are_not_believed(
    tmp_path: Path, run_in: MakeRun, document_of: DocumentOf
) -> None:
    run_in("good", head="ASPP-S")
    folder = run_in("mixed", head="ASPP-L", quality=0.9)
    shutil.copy(tmp_path / "good" / "per_picture.npz", folder)
    document = document_of(tmp_path)
    told = {Path(run["folder"]).name: "; ".join(run["problems"]) for run in document["runs"]}
    assert "of two evaluations" in told["mixed"]
    assert document["groups"][0]["pairs"] == []


def test_one_run_alone_is_shown(tmp_path: Path, run_in: MakeRun, document_of: DocumentOf) -> None:
    document = document_of(run_in("alone"))
    assert "nothing to compare it with" in document["headline"][0]
    assert len(document["groups"]) == 1


def test_runs_without_any_scores_are_listed(tmp_path: Path, run_in: MakeRun, document_of: DocumentOf) -> None:
    folder = run_in("one")
    (folder / "metrics.json").unlink()
    document = document_of(folder)
    assert "No comparison" in document["headline"][0]
    assert document["groups"] == []


def test_a_run_before_the_crf_only(tmp_path: Path, run_in: MakeRun, document_of: DocumentOf) -> None:
    run_in("without", head="ASPP-S", crf=False)
    run_in("with", head="ASPP-L")
    document = document_of(tmp_path)
    (pair,) = document["groups"][0]["pairs"]
    assert pair["after"] is None and "before the CRF" in pair["before"]["sentence"]
    assert [gain["variant"] for gain in document["groups"][0]["crf_gains"]] == ["ASPP-L"]


def test_the_papers_numbers_come_along(tmp_path: Path, run_in: MakeRun, document_of: DocumentOf) -> None:
    paper = {"table": "3", "row": "ASPP-L", "miou": 0.6896, "miou_crf": 0.7157}
    run_in("one", paper=paper)
    assert document_of(tmp_path)["variants"][0]["paper"] == paper


def test_more_than_twelve_variants_are_compared_with_the_best(
    tmp_path: Path, run_in: MakeRun, document_of: DocumentOf
) -> None:
    for number in range(14):
        run_in(f"{number}", optim__lr=0.01 + number / 1000, pictures=3, quality=0.5 + number / 40)
    document = document_of(tmp_path, repeats=100)
    (group,) = document["groups"]
    assert len(group["pairs"]) == 13
    assert {pair["a"] for pair in group["pairs"]} == {group["variants"][0]}
    assert any("There are 14 variants" in note for note in document["notes"])


def test_folders_are_found_in_order_and_once(tmp_path: Path, run_in: MakeRun) -> None:
    for number in (10, 9, 1):
        run_in(f"sweep/{number}", seed=number, predictions=False)
    search = run_in("search")
    (search / "search.json").write_text("{}")
    found = find_runs([tmp_path / "sweep" / "9", tmp_path])
    assert [folder.name for folder in found] == ["9", "1", "10"]


@pytest.mark.parametrize("name", ["nowhere", "a file", "empty"])
def test_paths_without_runs_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=name):
        find_runs([tmp_path / name])


def test_a_folder_that_links_to_itself_is_walked_round(tmp_path: Path, run_in: MakeRun) -> None:
    run_in("sweep/0", predictions=False)
    (tmp_path / "sweep" / "loop").symlink_to("loop")
    (tmp_path / "sweep" / "up").symlink_to("..")
    assert [folder.name for folder in find_runs([tmp_path / "sweep"])] == ["0"]


ODD_VALUES = [
    ("run.json", "seconds", [], "seconds is '[]', expected a number"),
    ("run.json", "images_per_second", "0.5", "images_per_second is '0.5', expected a number"),
    ("run.json", "overrides", [1], "overrides are not all texts"),
    ("metrics.json", "miou", "0.5", "lacks mIoU"),
    ("metrics.json", "miou", True, "lacks mIoU"),
    ("metrics.json", "num_images", {"a": 1}, "odd num_images"),
    ("metrics.json", "paper", {"miou": "high"}, "odd paper"),
    ("metrics.json", "class_edges", {"width": [1], "miou": [1, 2]}, "odd class_edges"),
]


def test_a_value_of_another_type_is_named_and_the_rest_is_shown(tmp_path: Path, run_in: MakeRun, edit: Edit) -> None:
    for number, (name, key, value, _) in enumerate(ODD_VALUES):
        edit(run_in(f"{number}", seed=number, pictures=3, predictions=False) / name, **{key: value})
    document, groups = compare(read_runs(find_runs([tmp_path])), 100, seed=0)
    page(document, build_gallery(groups, 0, None, RunPictures(None)))
    for (_, _, _, sentence), run in zip(ODD_VALUES, document["runs"], strict=True):
        assert sentence in "; ".join(run["problems"])
