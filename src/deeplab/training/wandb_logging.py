"""Weights & Biases: offline unless the user is logged in, never a prompt; imported only when chosen."""

import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # wandb's own crash telemetry, also sent by offline runs
os.environ.setdefault("WANDB_SILENT", "true")


def logged_in() -> bool:
    """Whether an API key is at hand, in WANDB_API_KEY or in the netrc file that `wandb login` writes."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return path.is_file() and netrc.netrc(str(path)).authenticators(host) is not None
    except (netrc.NetrcParseError, OSError):
        return False


class RunLogger(WandbLogger):
    """Counts optimizer steps done, as metrics.csv does, and ends its run with the training.

    A run that is not ended would swallow the next one of this process.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        del self._wandb_init["anonymous"]  # wandb warns of it, even where it is None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        # Lightning names a step by the number of steps before it.
        super().log_metrics(metrics, None if step is None else step + 1)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)
            self._experiment = None


def wandb_logger(
    folder: Path,
    config: dict[str, Any],
    project: str = "deeplab",
    name: str | None = None,
    group: str | None = None,
    tags: list[str] | None = None,
    entity: str | None = None,
) -> RunLogger:
    """A logger that stores its files under `folder`/wandb; `WANDB_MODE` beats the choice made here."""
    mode = os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline")
    return RunLogger(
        save_dir=str(folder),
        project=project,
        name=name,
        group=group,
        tags=tags,
        entity=entity,
        offline=mode == "offline",
        config=config,
    )


class MaskPanel(pl.Callback):
    """Logs the first `count` validation pictures with truth and prediction as mask overlays."""

    def __init__(self, class_names: list[str], count: int = 8) -> None:
        self.classes = dict(enumerate(class_names))
        self.count = count
        self._images: list[Any] = []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.is_global_zero and len(self._images) < self.count:
            self._images.append(self._overlay(batch, outputs["prediction"].cpu().numpy()))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        logger = next((each for each in trainer.loggers if isinstance(each, WandbLogger)), None)
        if logger is not None and self._images:
            logger.experiment.log({"val/pictures": self._images, "trainer/global_step": trainer.global_step})
        self._images = []

    def _overlay(self, batch: dict[str, Any], prediction: np.ndarray) -> Any:
        import wandb

        truth = batch["label"].cpu().numpy()
        masks = {
            "truth": {"mask_data": truth, "class_labels": {**self.classes, 255: "void"}},
            "prediction": {"mask_data": prediction.astype(np.uint8), "class_labels": self.classes},
        }
        return wandb.Image(batch["image"].cpu().numpy(), masks=masks, caption=batch["id"])
