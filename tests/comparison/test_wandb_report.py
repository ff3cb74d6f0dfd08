"""What W&B would be sent, built without an account or a connection."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deeplab.comparison.document import compare
from deeplab.comparison.run import read_runs
from deeplab.comparison.run_folders import find_runs
from deeplab.errors import InputError

wandb_report = pytest.importorskip("deeplab.comparison_views.wandb_report")
MakeRun = Callable[..., Path]


def document_of(folder: Path) -> dict[str, Any]:
    return compare(read_runs(find_runs([folder])), 100, seed=0)[0]


def logged(run_in: MakeRun, name: str, identifier: str, project: str = "mine", **options: Any) -> None:
    folder = run_in(name, logger={"project": project, "entity": None}, **options)
    (folder / "wandb" / f"offline-run-20260101_000000-{identifier}").mkdir(parents=True)


def found(node: Any, key: str) -> Iterator[Any]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from found(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from found(value, key)


def test_a_run_set_a_variant_and_panels_for_curves_classes_and_pictures(
    tmp_path: Path, run_in: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # whoever calls the server fails
    for seed in range(2):
        logged(run_in, f"{seed}", f"small{seed}", head="ASPP-S", seed=seed)
        logged(run_in, f"{seed + 2}", f"large{seed}", head="ASPP-L", seed=seed, quality=0.9)
    document = document_of(tmp_path)
    report = wandb_report.report_json(wandb_report.build_report(document))
    sets = next(found(report, "runSets"))
    assert [each["name"] for each in sets] == ["ASPP-S", "ASPP-L"]
    assert [next(found(each["filters"], "value")) for each in sets] == [["small0", "small1"], ["large0", "large1"]]
    assert {"Run History Line Plot", "Bar Chart", "Media Browser"} <= set(found(report, "viewType"))
    metrics = [name for metrics in found(report, "metrics") for name in metrics]
    assert {"val/miou", "val/miou_crf"} <= set(metrics)
    assert any(name.endswith("val/iou_crf/mug") for name in metrics)
    assert ["val/pictures"] in list(found(report, "mediaKeys"))
    assert document["headline"][0] in json.dumps(report, ensure_ascii=False)


def test_variants_that_w_and_b_does_not_have_are_named(tmp_path: Path, run_in: MakeRun) -> None:
    logged(run_in, "0", "a", head="ASPP-S")
    run_in("1", head="ASPP-L")
    run_in("2", head="LargeFOV", class_names=[f"other {number}" for number in range(8)])
    report = wandb_report.report_json(wandb_report.build_report(document_of(tmp_path)))
    assert [each["name"] for each in next(found(report, "runSets"))] == ["ASPP-S"]
    text = json.dumps(report)
    assert "so in none of the panels: ASPP-L, LargeFOV." in text
    assert "val/iou/ball" in text and "val/iou/other 1" not in text


def test_runs_that_w_and_b_does_not_have_are_refused(tmp_path: Path, run_in: MakeRun) -> None:
    run_in("one")
    with pytest.raises(InputError, match="logger=wandb"):
        wandb_report.build_report(document_of(tmp_path))


def test_runs_of_two_projects_are_refused(tmp_path: Path, run_in: MakeRun) -> None:
    logged(run_in, "one", "a", head="ASPP-S")
    logged(run_in, "two", "b", head="ASPP-L", project="other")
    with pytest.raises(InputError, match=r"several projects \(mine, other\)"):
        wandb_report.build_report(document_of(tmp_path))
