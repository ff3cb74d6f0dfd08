"""`metrics.csv` in the run's folder, whatever other logger a run has."""

import csv
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.loggers.logger import rank_zero_experiment


class _Writer(ExperimentWriter):
    """Lightning's writer, which forgets the columns of a resumed run's file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(log_dir=str(folder))
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])

    def _check_log_dir_exists(self) -> None:
        pass  # the run's folder always exists and holds more than this file


class RunMetrics(CSVLogger):
    """Writes `metrics.csv` into `folder`; a resumed run goes on in the same file."""

    def __init__(self, folder: Path, flush_every_n_steps: int = 50) -> None:
        super().__init__(str(folder), name="", version="", flush_logs_every_n_steps=flush_every_n_steps)
        self.folder = folder

    @property
    def log_dir(self) -> str:
        return str(self.folder)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            self._experiment = _Writer(self.folder)
        return self._experiment

    def log_hyperparams(self, params: Any = None, *args: Any, **kwargs: Any) -> None:
        """Nothing: the resolved configuration lies in `.hydra/` and in every checkpoint."""
