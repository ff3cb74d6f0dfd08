"""What a run logged over its steps, from `metrics.csv`."""

import csv
import math
from pathlib import Path
from typing import Any

from deeplab.comparison.run import Run
from deeplab.reporting.run_files import is_step

FILE = "metrics.csv"
# What is drawn, with its name and whether it is a fraction to be shown in percent.
CURVES = {
    "val/miou_crf": ("validation mIoU after the CRF", True),
    "val/miou": ("validation mIoU before the CRF", True),
    "train/loss": ("training loss", False),
    "train/loss_fused": ("training loss of the fused scores", False),
    "train/lr/head_weight": ("learning rate of the head's weights", False),
    "train/images_per_second": ("pictures a second in training", False),
}
MOST_POINTS = 400  # a curve; more than a screen shows

Curve = dict[str, list[Any]]
"""`step` and `value`, equally long."""


def read_curves(run: Run, most: int = MOST_POINTS) -> dict[str, Curve]:
    """Return `{column: {step, value}}` of the columns that a run has, each thinned evenly to at most `most` points.

    What cannot be read is said in the run's `problems`; numbers that are not finite are left out.
    """
    path = run.folder / FILE
    if not path.is_file():
        return {}
    try:
        rows = _rows(path)
    except (OSError, ValueError, csv.Error) as error:
        run.problems.append(f"{FILE} cannot be read ({error}), so its curves are missing")
        return {}
    curves: dict[str, Curve] = {}
    for column in CURVES:
        pairs = [(int(row["step"]), value) for row in rows if (value := _number(row.get(column))) is not None]
        if pairs:
            kept = _thinned(pairs, most)
            curves[column] = {"step": [step for step, _ in kept], "value": [float(f"{v:.6g}") for _, v in kept]}
    return curves


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        # A line that was being written when the run was killed has no step, or breaks off.
        return [row for row in csv.DictReader(file) if is_step(row.get("step") or "")]


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _thinned(pairs: list[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    if len(pairs) <= most:
        return pairs
    return [pairs[round(index * (len(pairs) - 1) / (most - 1))] for index in range(most)]
