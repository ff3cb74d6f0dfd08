"""Short runs with `logger=wandb`, in a process of their own: python wandb_run.py CASE FOLDER."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import pytorch_lightning as pl

import deeplab.train  # noqa: F401 - with what `deeplab train` imports
from conftest import NAMES, Batches, make_colour_network, make_module, make_pictures, make_trainer, picture_loader
from deeplab.config import build
from deeplab.crf.params import CRFParams
from deeplab.reporting.run_files import write_json
from deeplab.training.crf_evaluation import CRFEvaluation
from deeplab.training.media_logging import ValidationMedia, closing
from deeplab.training.run_metrics import RunMetrics
from deeplab.training.wandb_logging import wandb_logger

CONFIG = {"name": "test", "optim": {"lr": 0.1}, "model": {"head": {"rates": [6, 12]}}}
RESULT = {
    "miou": 0.5,
    "miou_crf": 0.625,
    "iou": {"ground": 0.5},
    "split": "val",
    "trimap": {"width": [1, 2], "miou": [0.25, 0.375], "miou_crf": [0.5, 0.75]},
}
FACTS = {
    "state": "running",
    "choices": {"model/head": "aspp_s", "experiment": "demo", "crf": "none"},
    "overrides": ["experiment=demo", "model/head=aspp_s", "optim.lr=0.1", "data.root=/secret/place", "hydra.run.dir=x"],
    "sweep": "2026-01-02",
}


class KillWandb(pl.Callback):
    """Takes wandb's own process away in mid-run."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == 2:
            found = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
            lines = [line.split(maxsplit=2) for line in found.stdout.splitlines()]
            [core] = [int(pid) for pid, parent, args in lines if int(parent) == os.getpid() and "wandb-core" in args]
            os.kill(core, signal.SIGKILL)


def without_wandb(folder: Path) -> None:
    """A run with `logger=csv` must not import wandb."""
    trainer = make_trainer(folder, 1, logger=build.build_loggers({"logger": {}}, folder))
    trainer.fit(make_module(make_colour_network()), Batches())
    assert "wandb" not in sys.modules


def train(folder: Path, *callbacks: pl.Callback, **options: Any) -> None:
    write_json(folder / "run.json", FACTS)
    loggers = [RunMetrics(folder), wandb_logger(folder, CONFIG, name="test", num_pictures=2, **options)]
    with closing(loggers) as shown:
        media = ValidationMedia(shown, NAMES)
        crf = CRFEvaluation(
            CRFParams(iterations=1), "exact", NAMES, workers=1, every_n_validations=2, on_refined=media.add_refined
        )
        steps = {"val_check_interval": 2, "check_val_every_n_epoch": None}
        trainer = make_trainer(folder, 4, [crf, media, *callbacks], logger=loggers, **steps)
        trainer.fit(make_module(make_colour_network(), lr=1e-6), Batches(), picture_loader(make_pictures(3)))
        write_json(folder / "metrics.json", RESULT)
        for each in shown:
            each.show_result(RESULT, folder)


def main(case: str, folder: Path) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if case == "offline":
        without_wandb(folder / "csv")
        train(folder, artifacts=["report"])
        train(folder / "second")
    elif case == "killed":
        train(folder, KillWandb())
    else:
        train(folder)
    print("the training ended well")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
