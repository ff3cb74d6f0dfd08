"""A short run with `logger=wandb`, in a process of its own: python wandb_run.py FOLDER."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from conftest import NAMES, Batches, make_colour_network, make_module, make_pictures, make_trainer, picture_loader

import deeplab.train  # noqa: F401 - with what `deeplab train` imports
from deeplab.config import build
from deeplab.training.wandb_logging import MaskPanel, wandb_logger


def without_wandb(folder: Path) -> None:
    """A run with `logger=csv` must not import wandb."""
    trainer = make_trainer(folder, 1, logger=build.build_loggers({"logger": {}}, folder))
    trainer.fit(make_module(make_colour_network()), Batches())
    assert "wandb" not in sys.modules


def main(folder: Path) -> None:
    without_wandb(folder / "csv")
    logger = wandb_logger(folder, {"name": "test", "optim": {"lr": 0.1}}, name="test", tags=["a"])
    trainer = make_trainer(
        folder,
        4,
        [MaskPanel(NAMES, count=2)],
        logger=logger,
        val_check_interval=2,
        check_val_every_n_epoch=None,
    )
    trainer.fit(make_module(make_colour_network(), lr=1e-6), Batches(), picture_loader(make_pictures(3)))

    import wandb

    assert wandb.run is None, "the run goes on after the training"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
