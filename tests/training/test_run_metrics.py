"""`metrics.csv`: its columns and rows, and that no row is lost when it gets new columns or goes on."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest

from deeplab.crf.params import CRFParams
from deeplab.training.crf_evaluation import CRFEvaluation
from deeplab.training.run_metrics import RunMetrics
from deeplab.training.throughput import Throughput

NAMES = ["ground", "ball", "crate", "ring"]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_a_run_writes(
    tiny: Any, segmentation: Any, batches: Any, trainer: Any, pictures: Any, loader: Any, tmp_path: Path
) -> None:
    crf = CRFEvaluation(CRFParams(iterations=1), "exact", NAMES, workers=1)
    options = {"val_check_interval": 4, "check_val_every_n_epoch": None, "log_every_n_steps": 2}
    module = segmentation(tiny(scales=(1.0, 0.75, 0.5)))
    fit = trainer(8, [Throughput(8), crf], **options)
    fit.fit(module, batches(), loader(pictures[:1]))
    assert {"train/loss", "train/grad_norm", "train/images_per_second", "val/miou"} <= set(fit.callback_metrics)
    written = rows(tmp_path)
    trained, validated = ([row for row in written if row[key]] for key in ("train/loss", "val/miou"))
    assert [row["step"] for row in trained] == ["2", "4", "6", "8"]
    assert [row["step"] for row in validated] == ["4", "8"]
    assert list(written[0])[:2] == ["step", "epoch"]
    expected = {f"train/loss_{name}" for name in ("fused", "x1", "x075", "x05")}
    expected |= {f"train/lr/{part}_{kind}" for part in ("backbone", "head") for kind in ("weight", "bias")}
    expected |= {"train/loss", "train/grad_norm", "train/images_per_second", "train/data_wait", "train/peak_memory"}
    assert {name for name, value in trained[-1].items() if value} == expected | {"step", "epoch"}
    assert {"val/miou", "val/miou_crf", "val/pixel_accuracy", "val/pixel_accuracy_crf"} <= set(written[0])
    assert [name for name in written[0] if name.startswith("val/iou/")]
    assert [name for name in written[0] if name.startswith("val/iou_crf/")]
    assert float(trained[1]["train/lr/head_bias"]) == pytest.approx(0.2 * (1 - 3 / 20) ** 0.9)  # of the fourth step


def test_new_columns_leave_old_rows_as_they_were(tmp_path: Path) -> None:
    log = RunMetrics(tmp_path / "new")
    log.log_metrics({"b": 1.5, "epoch": 0}, step=0)
    log.log_metrics({"b": 0.1 + 0.2, "epoch": 0}, step=1)
    log.log_metrics({"a": float("nan"), "epoch": 1}, step=1)
    assert rows(tmp_path / "new") == [
        {"step": "1", "epoch": "0", "a": "", "b": "1.5"},
        {"step": "2", "epoch": "0", "a": "", "b": "0.30000000000000004"},
        {"step": "2", "epoch": "1", "a": "nan", "b": ""},
    ]
    assert math.isnan(float(rows(tmp_path / "new")[2]["a"]))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["metrics.csv"]


def test_every_row_is_on_the_disk_at_once(tmp_path: Path) -> None:
    log = RunMetrics(tmp_path)
    for step in range(3):
        log.log_metrics({"a": float(step)}, step=step)
        assert [float(row["a"]) for row in rows(tmp_path)] == [float(i) for i in range(step + 1)]


def test_a_later_run_goes_on_and_replaces_the_steps_it_repeats(tmp_path: Path) -> None:
    first = RunMetrics(tmp_path)
    for step in (9, 19, 29):
        first.log_metrics({"a": 1.0}, step=step)
    first.log_metrics({"val/miou": 0.5}, step=29)
    second = RunMetrics(tmp_path)
    second.log_metrics({"a": 2.0, "c": 3.0}, step=19)
    assert [(row["step"], row["a"], row["c"], row["val/miou"]) for row in rows(tmp_path)] == [
        ("10", "1.0", "", ""),
        ("20", "2.0", "3.0", ""),
    ]


def test_a_row_that_was_cut_off_by_a_kill_is_dropped(tmp_path: Path) -> None:
    first = RunMetrics(tmp_path)
    first.log_metrics({"a": 1.0}, step=0)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("2,")
    second = RunMetrics(tmp_path)
    second.log_metrics({"a": 2.0}, step=1)
    assert [(row["step"], row["a"]) for row in rows(tmp_path)] == [("1", "1.0"), ("2", "2.0")]
