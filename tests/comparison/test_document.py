"""Runs in folders become one document: grouped over seeds, compared where they may be."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t

from deeplab.metrics.scores import mean_iou

MakeRun = Callable[..., Path]
DocumentOf = Callable[..., dict[str, Any]]
Edit = Callable[..., None]


def names(document: dict[str, Any]) -> list[str]:
    return [variant["name"] for variant in document["variants"]]


def test_seeds_are_grouped_and_the_better_variant_is_named(
    tmp_path: Path, run_in: MakeRun, document_of: DocumentOf
) -> None:
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


def test_the_difference_is_that_of_the_mean_mious(tmp_path: Path, run_in: MakeRun, document_of: DocumentOf) -> None:
    folders = [run_in(f"{head}{seed}", head=head, seed=seed) for head in ("ASPP-S", "ASPP-L") for seed in (0, 1)]
    pair = document_of(*folders)["groups"][0]["pairs"][0]
    for key, stage in (("confusion", "before"), ("confusion_crf", "after")):
        mious = [mean_iou(np.load(folder / "per_picture.npz")[key].sum(axis=0)) for folder in folders]
        expected = abs(np.mean(mious[:2]) - np.mean(mious[2:]))
        assert abs(pair[stage]["difference"]) == pytest.approx(expected, abs=1e-12)
    told = [json.loads((folder / "metrics.json").read_text())["miou_crf"] for folder in folders]
    assert pair["after"]["difference"] == pytest.approx(abs(np.mean(told[:2]) - np.mean(told[2:])), abs=1e-9)


def test_below_three_seeds_seed_noise_is_not_measured(tmp_path: Path, run_in: MakeRun, document_of: DocumentOf) -> None:
    for seed in range(2):
        run_in(f"s/{seed}", head="ASPP-S", seed=seed, quality=0.5)
        run_in(f"l/{seed}", head="ASPP-L", seed=seed, quality=0.9)
    pair = document_of(tmp_path)["groups"][0]["pairs"][0]
    assert pair["after"]["over_pictures_and_seeds"] is None
    claim, _, basis = pair["after"]["sentence"].partition(";")
    assert claim.startswith("ASPP-L is ahead of ASPP-S by ") and claim.endswith("and seed noise is not measured")
    assert "2 seeds each, 12 pictures; to measure seed noise takes 3 seeds of each" in basis
    assert pair["after"]["over_pictures"][0] > 0 and not pair["after"]["decided"]


def test_three_seeds_that_disagree_are_no_victory(tmp_path: Path, run_in: MakeRun, document_of: DocumentOf) -> None:
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
    seeds: tuple[tuple[int, ...], ...],
    counted: list[int] | None,
    tmp_path: Path,
    run_in: MakeRun,
    document_of: DocumentOf,
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


def test_one_picture_shows_nothing(tmp_path: Path, run_in: MakeRun, document_of: DocumentOf) -> None:
    run_in("s", head="ASPP-S", pictures=1, quality=0.3)
    run_in("l", head="ASPP-L", pictures=1, quality=0.9)
    after = document_of(tmp_path)["groups"][0]["pairs"][0]["after"]
    assert after["over_pictures"] == [None, None] and not after["decided"]
    assert "95 % interval not measurable over pictures alone" in after["sentence"]
    assert "so the two cannot be told apart; 1 seed each, 1 picture" in after["sentence"]


def test_a_class_in_two_pictures_has_no_interval(tmp_path: Path, run_in: MakeRun, document_of: DocumentOf) -> None:
    run_in("s", head="ASPP-S", pictures=4, quality=0.5)
    folder = run_in("l", head="ASPP-L", pictures=4)
    group = document_of(tmp_path)["groups"][0]
    shown = (np.load(folder / "per_picture.npz")["confusion"].sum(-1) > 0).sum(0)
    measured = [each != [None, None] for each in group["pairs"][0]["before"]["class_intervals"]]
    assert measured == [count >= 3 for count in shown] and len(set(measured)) == 2


def test_an_interval_that_holds_zero_is_no_victory(tmp_path: Path, run_in: MakeRun, document_of: DocumentOf) -> None:
    run_in("s", head="ASPP-S", quality=0.7)
    run_in("l", head="ASPP-L", quality=0.7)
    pair = document_of(tmp_path)["groups"][0]["pairs"][0]
    low, high = pair["before"]["over_pictures"]
    assert low < 0 < high
    assert "beats" not in pair["before"]["sentence"]
    assert "the interval holds 0, so the two cannot be told apart" in pair["before"]["sentence"]


def test_the_same_run_twice_is_no_difference(tmp_path: Path, run_in: MakeRun, document_of: DocumentOf) -> None:
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


def test_a_key_that_an_older_version_lacks_makes_no_variant(
    tmp_path: Path, run_in: MakeRun, document_of: DocumentOf
) -> None:
    run_in("old")
    for seed, weights in ((1, None), (2, [1, 2])):
        metrics = json.loads((run_in(f"new_{seed}", seed=seed) / "metrics.json").read_text())
        metrics["config"]["optim"]["class_weights"] = weights
        (tmp_path / f"new_{seed}" / "metrics.json").write_text(json.dumps(metrics))
    variants = document_of(tmp_path)["variants"]
    assert sorted(len(variant["runs"]) for variant in variants) == [1, 2]
    assert any("class_weights=[1, 2]" in variant["name"] for variant in variants)


def test_a_gain_of_the_crf_is_paired_by_run(tmp_path: Path, run_in: MakeRun, document_of: DocumentOf) -> None:
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
    changes: dict[str, Any], reason: str, tmp_path: Path, run_in: MakeRun, document_of: DocumentOf
) -> None:
    run_in("one", head="ASPP-S")
    run_in("other", head="ASPP-L", **changes)
    document = document_of(tmp_path)
    assert [group["pairs"] for group in document["groups"]] == [[], []]
    assert len(document["warnings"]) == 1
    assert document["warnings"][0].startswith("Not comparable: ASPP-S") and reason in document["warnings"][0]


def test_what_a_variant_was_scored_on_names_it_only_beside_another_of_its_name(
    tmp_path: Path, run_in: MakeRun, document_of: DocumentOf
) -> None:
    many = tuple(f"class {number} of a long list" for number in range(8))
    run_in("0", head="ASPP-S")
    run_in("1", head="ASPP-L", class_names=many)
    run_in("2", head="ASPP-S", class_names=many)
    run_in("3", head="ASPP-S", split="test")
    found = names(document_of(tmp_path))
    assert found == ["ASPP-S", "ASPP-L", f"ASPP-S, classes [{', '.join(many)}"[:55] + "…", "ASPP-S, split test"]


def test_a_long_value_is_cut_and_names_stay_apart(tmp_path: Path, run_in: MakeRun, document_of: DocumentOf) -> None:
    for number, end in enumerate("abb"):
        run_in(f"{number}", optim__schedule="x" * 100 + end, optim__warm_up=number // 2)
    run_in("taken", optim__schedule="x" * 39 + "… (2)", optim__warm_up=0)
    found = names(document_of(tmp_path))
    assert len(set(found)) == 4 and max(map(len, found)) < 100


def test_the_verdict_goes_on_with_the_other_variants(tmp_path: Path, run_in: MakeRun, document_of: DocumentOf) -> None:
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


def test_time_without_the_training_is_said(
    tmp_path: Path, run_in: MakeRun, document_of: DocumentOf, edit: Edit
) -> None:
    scored_later, trained = run_in("scored_later", seed=0), run_in("trained", seed=1)
    edit(scored_later / "run.json", steps=500, images_per_second=None)
    edit(trained / "run.json", steps=500)
    problems = [run["problems"] for run in document_of(scored_later, trained)["runs"]]
    assert problems == [["time and memory are without the training"], []]


def test_data_of_another_name_are_compared_if_pictures_and_truth_are_the_same(
    tmp_path: Path, run_in: MakeRun, document_of: DocumentOf
) -> None:
    run_in("one", head="ASPP-S")
    run_in("other", head="ASPP-L", data__name="scenes_aug")
    document = document_of(tmp_path)
    assert len(document["groups"]) == 1
    assert any("data=scenes_aug" in note and "are the same" in note for note in document["notes"])


def test_data_of_another_name_with_other_pictures_are_not_compared(
    tmp_path: Path, run_in: MakeRun, document_of: DocumentOf
) -> None:
    run_in("one", head="ASPP-S", pictures=12)
    run_in("other", head="ASPP-L", pictures=8, data__name="scenes_aug")
    document = document_of(tmp_path)
    assert len(document["groups"]) == 2
    assert "different data sets (scenes and scenes_aug)" in document["warnings"][0]


def test_differences_are_over_common_pictures(tmp_path: Path, run_in: MakeRun, document_of: DocumentOf) -> None:
    many = run_in("many", head="ASPP-S", pictures=12)
    few = run_in("few", head="ASPP-L", pictures=8)
    document = document_of(tmp_path)
    (pair,) = document["groups"][0]["pairs"]
    assert pair["num_pictures"] == 8
    assert "scored on different pictures" in document["warnings"][0]
    mious = [mean_iou(np.load(each / "per_picture.npz")["confusion"][:8].sum(axis=0)) for each in (many, few)]
    assert abs(pair["before"]["difference"]) == pytest.approx(abs(mious[0] - mious[1]), abs=1e-12)


def test_a_repetition_is_not_another_seed(tmp_path: Path, run_in: MakeRun, document_of: DocumentOf, edit: Edit) -> None:
    run_in("first", seed=0)
    again = run_in("again", seed=0)
    edit(again / "run.json", started="2026-02-01T00:00:00+0000")
    document = document_of(tmp_path)
    (variant,) = document["variants"]
    assert (len(variant["runs"]), variant["seeds"]) == (2, [0])
    assert [run["counted"] for run in document["runs"]] == [run["name"].endswith("again") for run in document["runs"]]
    assert any("a repetition is not another seed" in note for note in document["notes"])
