"""Runs in folders become one document: grouped over seeds, compared where they may be, every defect in a sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t

from deeplab.comparison.document import compare
from deeplab.comparison.gallery import build_gallery
from deeplab.comparison.run import read_runs
from deeplab.comparison.run_folders import find_runs
from deeplab.comparison_views.page import page
from deeplab.config.run_pictures import RunPictures
from deeplab.errors import InputError
from deeplab.metrics.scores import mean_iou
from deeplab.reporting.liveness import process_facts

MakeRun = Callable[..., Path]


def document_of(*paths: Path, repeats: int = 200) -> dict[str, Any]:
    document, _ = compare(read_runs(find_runs(paths)), repeats, seed=0)
    json.dumps(document, allow_nan=False)
    return document


def names(document: dict[str, Any]) -> list[str]:
    return [variant["name"] for variant in document["variants"]]


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_seeds_are_grouped_and_the_better_variant_is_named(tmp_path: Path, run_in: MakeRun) -> None:
    for seed in range(3):
        run_in(f"sweep/{seed}", head="ASPP-S", seed=seed, quality=0.6)
        run_in(f"sweep/{seed + 3}", head="ASPP-L", seed=seed, quality=0.9)
    document = document_of(tmp_path / "sweep")
    assert names(document) == ["ASPP-S", "ASPP-L"]
    assert [variant["seeds"] for variant in document["variants"]] == [[0, 1, 2], [0, 1, 2]]
    (pair,) = document["groups"][0]["pairs"]
    assert (pair["a"], pair["b"]) == ("ASPP-L", "ASPP-S")
    assert document["headline"] == [pair["after"]["sentence"]]
    assert pair["after"]["sentence"].startswith("ASPP-L beats ASPP-S by ")
    assert "3 seeds each, 12 pictures" in pair["after"]["sentence"]
    low, high = pair["after"]["over_pictures_and_seeds"]
    assert low < pair["after"]["difference"] < high
    assert f"95 % interval {100 * low:.1f} to {100 * high:.1f} over pictures and seeds;" in pair["after"]["sentence"]
    assert document["warnings"] == []


def test_the_difference_is_that_of_the_mean_mious(tmp_path: Path, run_in: MakeRun) -> None:
    folders = [run_in(f"{head}{seed}", head=head, seed=seed) for head in ("ASPP-S", "ASPP-L") for seed in (0, 1)]
    pair = document_of(*folders)["groups"][0]["pairs"][0]
    for key, stage in (("confusion", "before"), ("confusion_crf", "after")):
        mious = [mean_iou(np.load(folder / "per_picture.npz")[key].sum(axis=0)) for folder in folders]
        expected = abs(np.mean(mious[:2]) - np.mean(mious[2:]))
        assert abs(pair[stage]["difference"]) == pytest.approx(expected, abs=1e-12)
    told = [json.loads((folder / "metrics.json").read_text())["miou_crf"] for folder in folders]
    assert pair["after"]["difference"] == pytest.approx(abs(np.mean(told[:2]) - np.mean(told[2:])), abs=1e-9)


def test_below_three_seeds_seed_noise_is_not_measured(tmp_path: Path, run_in: MakeRun) -> None:
    for seed in range(2):
        run_in(f"s/{seed}", head="ASPP-S", seed=seed, quality=0.5)
        run_in(f"l/{seed}", head="ASPP-L", seed=seed, quality=0.9)
    pair = document_of(tmp_path)["groups"][0]["pairs"][0]
    assert pair["after"]["over_pictures_and_seeds"] is None
    claim, _, basis = pair["after"]["sentence"].partition(";")
    assert claim.startswith("ASPP-L is ahead of ASPP-S by ") and claim.endswith("and seed noise is not measured")
    assert "2 seeds each, 12 pictures; to measure seed noise takes 3 seeds of each" in basis
    assert pair["after"]["over_pictures"][0] > 0 and not pair["after"]["decided"]


def test_three_seeds_that_disagree_are_no_victory(tmp_path: Path, run_in: MakeRun) -> None:
    differences, without = [], []
    for seed, quality in enumerate((0.5, 0.7, 0.95)):
        folders = (
            run_in(f"l/{seed}", head="ASPP-L", seed=seed, quality=quality),
            run_in(f"s/{seed}", seed=seed, quality=0.6),
        )
        matrices = [np.load(folder / "per_picture.npz")["confusion_crf"].astype(int) for folder in folders]
        large, small = (
            [mean_iou(each.sum(0)), *(mean_iou(np.delete(each, n, 0).sum(0)) for n in range(12))] for each in matrices
        )
        differences.append(large[0] - small[0])
        without.append(np.subtract(large[1:], small[1:]))
    after = document_of(tmp_path)["groups"][0]["pairs"][0]["after"]
    assert after["over_pictures"][0] > 0  # as far as these runs go it is settled
    assert after["over_pictures_and_seeds"][0] < 0 and not after["decided"]
    # The t interval by hand: seeds in pairs, each picture left out, Welch's degrees of freedom.
    parts = np.var(differences, ddof=1) / 3, 11 * np.var(np.mean(without, axis=0))
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 11)
    low, high = t.interval(0.95, freedom, np.mean(differences), sum(parts) ** 0.5)
    assert after["over_pictures_and_seeds"] == pytest.approx([low, high])
    assert "ASPP-L is ahead of ASPP-S by " in after["sentence"]
    assert "over pictures and seeds: the interval holds 0, so the two cannot be told apart;" in after["sentence"]
    assert "so other seeds could turn it round" in after["sentence"]


@pytest.mark.parametrize(("seeds", "counted"), [(((0, 1, 2), (0, 2)), [0, 2]), (((0, 1), (2, 3)), None)])
def test_a_pair_is_over_the_seeds_that_both_have(
    seeds: tuple[tuple[int, ...], ...], counted: list[int] | None, tmp_path: Path, run_in: MakeRun
) -> None:
    folders = {
        head: {seed: run_in(f"{head}{seed}", head=head, seed=seed, predictions=False) for seed in own}
        for head, own in zip(("ASPP-S", "ASPP-L"), seeds, strict=True)
    }
    pair = document_of(tmp_path)["groups"][0]["pairs"][0]
    means = [
        np.mean(
            [
                mean_iou(np.load(each / "per_picture.npz")["confusion"].sum(0))
                for seed, each in own.items()
                if seed in taken
            ]
        )
        for own, taken in zip(folders.values(), [counted] * 2 if counted else seeds, strict=True)
    ]
    assert abs(pair["before"]["difference"]) == pytest.approx(abs(means[0] - means[1]), abs=1e-12)
    assert pair["seeds"] == [2, 2]
    assert ("2 seeds each (of seed 0 and 2, which both have)" in pair["before"]["sentence"]) == bool(counted)


def test_one_picture_shows_nothing(tmp_path: Path, run_in: MakeRun) -> None:
    run_in("s", head="ASPP-S", pictures=1, quality=0.3)
    run_in("l", head="ASPP-L", pictures=1, quality=0.9)
    after = document_of(tmp_path)["groups"][0]["pairs"][0]["after"]
    assert after["over_pictures"] == [None, None] and not after["decided"]
    assert "95 % interval not measurable over pictures alone" in after["sentence"]
    assert "so the two cannot be told apart; 1 seed each, 1 picture" in after["sentence"]


def test_a_class_in_two_pictures_has_no_interval(tmp_path: Path, run_in: MakeRun) -> None:
    run_in("s", head="ASPP-S", pictures=4, quality=0.5)
    folder = run_in("l", head="ASPP-L", pictures=4)
    group = document_of(tmp_path)["groups"][0]
    shown = (np.load(folder / "per_picture.npz")["confusion"].sum(-1) > 0).sum(0)
    measured = [each != [None, None] for each in group["pairs"][0]["before"]["class_intervals"]]
    assert measured == [count >= 3 for count in shown] and len(set(measured)) == 2


def test_an_interval_that_holds_zero_is_no_victory(tmp_path: Path, run_in: MakeRun) -> None:
    run_in("s", head="ASPP-S", quality=0.7)
    run_in("l", head="ASPP-L", quality=0.7)
    pair = document_of(tmp_path)["groups"][0]["pairs"][0]
    low, high = pair["before"]["over_pictures"]
    assert low < 0 < high
    assert "beats" not in pair["before"]["sentence"]
    assert "the interval holds 0, so the two cannot be told apart" in pair["before"]["sentence"]


def test_the_same_run_twice_is_no_difference(tmp_path: Path, run_in: MakeRun) -> None:
    run_in("s", head="ASPP-S")
    other = tmp_path / "l"
    shutil.copytree(tmp_path / "s", other)
    metrics = json.loads((other / "metrics.json").read_text())
    metrics["config"]["optim"]["lr"] = 0.02
    (other / "metrics.json").write_text(json.dumps(metrics))
    document = document_of(tmp_path)
    assert names(document) == ["optim.lr=0.02", "optim.lr=0.01"]
    after = document["groups"][0]["pairs"][0]["after"]
    assert (after["difference"], after["over_pictures"]) == (0, [0, 0])
    assert "the same mIoU" in after["sentence"]


def test_a_key_that_an_older_version_lacks_makes_no_variant(tmp_path: Path, run_in: MakeRun) -> None:
    run_in("old")
    for seed, weights in ((1, None), (2, [1, 2])):
        metrics = json.loads((run_in(f"new_{seed}", seed=seed) / "metrics.json").read_text())
        metrics["config"]["optim"]["class_weights"] = weights
        (tmp_path / f"new_{seed}" / "metrics.json").write_text(json.dumps(metrics))
    variants = document_of(tmp_path)["variants"]
    assert sorted(len(variant["runs"]) for variant in variants) == [1, 2]
    assert any("class_weights=[1, 2]" in variant["name"] for variant in variants)


def test_a_gain_of_the_crf_is_paired_by_run(tmp_path: Path, run_in: MakeRun) -> None:
    for seed in range(3):
        run_in(f"{seed}", seed=seed)
    (gain,) = document_of(tmp_path)["groups"][0]["crf_gains"]
    assert gain["difference"] > 0 and gain["decided"]
    assert gain["sentence"].startswith("demo (ASPP-S): the CRF gains ")
    assert gain["over_pictures_and_seeds"] is not None
    (single,) = document_of(tmp_path / "0")["groups"][0]["crf_gains"]
    assert single["over_pictures"][0] > 0 and not single["decided"]
    assert "the CRF changes mIoU by" in single["sentence"] and "seed noise is not measured;" in single["sentence"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"split": "test"}, "different splits"),
        ({"class_names": ("background", "ball", "crate", "ring", "rope", "star", "leaf", "cup")}, "class lists differ"),
        (
            {"data__layout": {"_target_": "deeplab.data.scenes.Scenes", "seed": 1, "height": 40, "width": 56}},
            "another truth",
        ),
    ],
)
def test_what_is_not_comparable_is_not_compared(
    changes: dict[str, Any], reason: str, tmp_path: Path, run_in: MakeRun
) -> None:
    run_in("one", head="ASPP-S")
    run_in("other", head="ASPP-L", **changes)
    document = document_of(tmp_path)
    assert [group["pairs"] for group in document["groups"]] == [[], []]
    assert len(document["warnings"]) == 1
    assert document["warnings"][0].startswith("Not comparable: ASPP-S") and reason in document["warnings"][0]


def test_what_a_variant_was_scored_on_names_it_only_beside_another_of_its_name(tmp_path: Path, run_in: MakeRun) -> None:
    many = tuple(f"class {number} of a long list" for number in range(8))
    run_in("0", head="ASPP-S")
    run_in("1", head="ASPP-L", class_names=many)
    run_in("2", head="ASPP-S", class_names=many)
    run_in("3", head="ASPP-S", split="test")
    found = names(document_of(tmp_path))
    assert found == ["ASPP-S", "ASPP-L", f"ASPP-S, classes [{', '.join(many)}"[:55] + "…", "ASPP-S, split test"]


def test_a_long_value_is_cut_and_names_stay_apart(tmp_path: Path, run_in: MakeRun) -> None:
    for number, end in enumerate("abb"):
        run_in(f"{number}", optim__schedule="x" * 100 + end, optim__warm_up=number // 2)
    run_in("taken", optim__schedule="x" * 39 + "… (2)", optim__warm_up=0)
    found = names(document_of(tmp_path))
    assert len(set(found)) == 4 and max(map(len, found)) < 100


def test_the_verdict_goes_on_with_the_other_variants(tmp_path: Path, run_in: MakeRun) -> None:
    for seed in range(3):
        run_in(f"best{seed}", head="ASPP-L", seed=seed, quality=0.9)
        run_in(f"next{seed}", head="LargeFOV", seed=seed, quality=0.9)
        run_in(f"last{seed}", head="ASPP-S", seed=seed, quality=0.3)
    document = document_of(tmp_path)
    (group,) = document["groups"]
    best, last = group["variants"][0], next(pair for pair in group["pairs"][1:] if pair["b"] == "ASPP-S")["after"]
    assert group["pairs"][0]["b"] != "ASPP-S"
    low, high = (f"{100 * end:.1f}" for end in last["over_pictures_and_seeds"])
    assert group["others"] == (
        f"Against the others: {best} beats ASPP-S (+{100 * last['difference']:.1f} points, {low} to {high})."
    )
    one_seed = document_of(*(tmp_path / name for name in ("best0", "next0", "last0")))["groups"][0]["others"]
    assert " is ahead of ASPP-S (+" in one_seed and one_seed.endswith("; not all seed noise is measured.")
    assert document_of(tmp_path / "best0", tmp_path / "last0")["groups"][0]["others"] is None


def test_time_without_the_training_is_said(tmp_path: Path, run_in: MakeRun) -> None:
    scored_later, trained = run_in("scored_later", seed=0), run_in("trained", seed=1)
    edit(scored_later / "run.json", steps=500, images_per_second=None)
    edit(trained / "run.json", steps=500)
    problems = [run["problems"] for run in document_of(scored_later, trained)["runs"]]
    assert problems == [["time and memory are without the training"], []]


def test_data_of_another_name_are_compared_if_pictures_and_truth_are_the_same(tmp_path: Path, run_in: MakeRun) -> None:
    run_in("one", head="ASPP-S")
    run_in("other", head="ASPP-L", data__name="scenes_aug")
    document = document_of(tmp_path)
    assert len(document["groups"]) == 1
    assert any("data=scenes_aug" in note and "are the same" in note for note in document["notes"])


def test_data_of_another_name_with_other_pictures_are_not_compared(tmp_path: Path, run_in: MakeRun) -> None:
    run_in("one", head="ASPP-S", pictures=12)
    run_in("other", head="ASPP-L", pictures=8, data__name="scenes_aug")
    document = document_of(tmp_path)
    assert len(document["groups"]) == 2
    assert "different data sets (scenes and scenes_aug)" in document["warnings"][0]


def test_differences_are_over_common_pictures(tmp_path: Path, run_in: MakeRun) -> None:
    many = run_in("many", head="ASPP-S", pictures=12)
    few = run_in("few", head="ASPP-L", pictures=8)
    document = document_of(tmp_path)
    (pair,) = document["groups"][0]["pairs"]
    assert pair["num_pictures"] == 8
    assert "scored on different pictures" in document["warnings"][0]
    mious = [mean_iou(np.load(each / "per_picture.npz")["confusion"][:8].sum(axis=0)) for each in (many, few)]
    assert abs(pair["before"]["difference"]) == pytest.approx(abs(mious[0] - mious[1]), abs=1e-12)


def test_a_repetition_is_not_another_seed(tmp_path: Path, run_in: MakeRun) -> None:
    run_in("first", seed=0)
    again = run_in("again", seed=0)
    edit(again / "run.json", started="2026-02-01T00:00:00+0000")
    document = document_of(tmp_path)
    (variant,) = document["variants"]
    assert (len(variant["runs"]), variant["seeds"]) == (2, [0])
    assert [run["counted"] for run in document["runs"]] == [run["name"].endswith("again") for run in document["runs"]]
    assert any("a repetition is not another seed" in note for note in document["notes"])


def test_failed_unfinished_and_unscored_runs_are_listed(tmp_path: Path, run_in: MakeRun) -> None:
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
    name: str, content: bytes, sentence: str, tmp_path: Path, run_in: MakeRun
) -> None:
    run_in("good", head="ASPP-S")
    damaged = run_in("damaged", head="ASPP-L")
    (damaged / name).write_bytes(content)
    document = document_of(tmp_path)
    told = {Path(run["folder"]).name: "; ".join(run["problems"]) for run in document["runs"]}
    assert sentence in told["damaged"] and told["good"] == ""
    assert names(document)[1] == "ASPP-S"
    (state,) = [run["state"] for run in document["runs"] if run["name"].endswith("damaged")]
    assert (state == "unreadable") == (name == "run.json")
    assert name != "run.json" or document["variants"][0]["counted"] == []


def test_a_run_without_matrices_is_listed_but_not_compared(tmp_path: Path, run_in: MakeRun) -> None:
    run_in("good", head="ASPP-S")
    (run_in("bare", head="ASPP-L") / "per_picture.npz").unlink()
    document = document_of(tmp_path)
    assert document["groups"][0]["pairs"] == []
    assert document["variants"][0]["miou"]["count"] == 1
    assert "there is no per_picture.npz" in "".join(document["runs"][0]["problems"])
    assert any("cannot take part" in note for note in document["notes"])


def test_matrices_of_another_evaluation_are_not_believed(tmp_path: Path, run_in: MakeRun) -> None:
    run_in("good", head="ASPP-S")
    folder = run_in("mixed", head="ASPP-L", quality=0.9)
    shutil.copy(tmp_path / "good" / "per_picture.npz", folder)
    document = document_of(tmp_path)
    told = {Path(run["folder"]).name: "; ".join(run["problems"]) for run in document["runs"]}
    assert "of two evaluations" in told["mixed"]
    assert document["groups"][0]["pairs"] == []


def test_one_run_alone_is_shown(tmp_path: Path, run_in: MakeRun) -> None:
    document = document_of(run_in("alone"))
    assert "nothing to compare it with" in document["headline"][0]
    assert len(document["groups"]) == 1


def test_runs_without_any_scores_are_listed(tmp_path: Path, run_in: MakeRun) -> None:
    folder = run_in("one")
    (folder / "metrics.json").unlink()
    document = document_of(folder)
    assert "No comparison" in document["headline"][0]
    assert document["groups"] == []


def test_a_run_before_the_crf_only(tmp_path: Path, run_in: MakeRun) -> None:
    run_in("without", head="ASPP-S", crf=False)
    run_in("with", head="ASPP-L")
    document = document_of(tmp_path)
    (pair,) = document["groups"][0]["pairs"]
    assert pair["after"] is None and "before the CRF" in pair["before"]["sentence"]
    assert [gain["variant"] for gain in document["groups"][0]["crf_gains"]] == ["ASPP-L"]


def test_the_papers_numbers_come_along(tmp_path: Path, run_in: MakeRun) -> None:
    paper = {"table": "3", "row": "ASPP-L", "miou": 0.6896, "miou_crf": 0.7157}
    run_in("one", paper=paper)
    assert document_of(tmp_path)["variants"][0]["paper"] == paper


def test_more_than_twelve_variants_are_compared_with_the_best(tmp_path: Path, run_in: MakeRun) -> None:
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


def test_a_value_of_another_type_is_named_and_the_rest_is_shown(tmp_path: Path, run_in: MakeRun) -> None:
    for number, (name, key, value, _) in enumerate(ODD_VALUES):
        edit(run_in(f"{number}", seed=number, pictures=3, predictions=False) / name, **{key: value})
    document, groups = compare(read_runs(find_runs([tmp_path])), 100, seed=0)
    page(document, build_gallery(groups, 0, None, RunPictures(None)))
    for (_, _, _, sentence), run in zip(ODD_VALUES, document["runs"], strict=True):
        assert sentence in "; ".join(run["problems"])
