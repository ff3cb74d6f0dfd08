"""`metrics.csv` in the run's folder, whatever other logger a run has."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

Row = dict[str, Any]


class RunMetrics(Logger):
    """Writes `metrics.csv` into `folder`, every row as soon as it is logged; `step` counts optimizer steps done.

    A resumed run goes on in the same file: rows of steps that it takes again, because it was killed some steps after
    its checkpoint, are replaced. The file is always whole: new columns are added to a copy, which then takes its place.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "metrics.csv"
        self._columns: list[str] | None = None

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        assert step is not None
        # Lightning names a step by the number of steps before it.
        row: Row = {"step": step + 1, **metrics}
        if self._columns is None:
            self._columns = self._go_on(row)
        if set(row) <= set(self._columns):
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self._columns).writerow(row)
        else:
            self._columns = _ordered({*self._columns, *row})
            self._replace([*self._rows(), row])

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the resolved configuration lies in `.hydra/` and in every checkpoint."""

    def _go_on(self, first: Row) -> list[str]:
        """Prepare the file for a first row; return its columns."""
        # A run that resumes with the validation after a step has the row of that step's training already.
        validates = any(name.startswith("val/") for name in first)
        kept = first["step"] if validates else first["step"] - 1
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = self._rows()
        self._columns = _ordered(rows[0]) if rows else []
        self._replace([row for row in rows if int(row["step"]) <= kept and not _repeats(first, row)])
        return self._columns

    def _rows(self) -> list[Row]:
        if not self.path.is_file():
            return []
        with self.path.open(newline="") as file:
            return [row for row in csv.DictReader(file) if (row.get("step") or "").isdigit()]

    def _replace(self, rows: list[Row]) -> None:
        part = self.path.with_name(f".{self.path.name}.part")
        with part.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns or [])
            writer.writeheader()
            writer.writerows(rows)
        part.replace(self.path)


def _repeats(first: Row, row: Row) -> bool:
    return int(row["step"]) == first["step"] and any(row.get(name) for name in first if "/" in name)


def _ordered(columns: Any) -> list[str]:
    return ["step", "epoch", *sorted(set(columns) - {"step", "epoch"})]
