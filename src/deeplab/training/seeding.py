"""One seed for everything that is drawn."""

import logging

import pytorch_lightning as pl
import torch


def seed_everything(seed: int) -> None:
    """Seed python, numpy and torch, and the data workers; the same on every rank, so that weights start equal."""
    logging.getLogger("lightning_fabric.utilities.seed").setLevel(logging.WARNING)
    pl.seed_everything(seed, workers=True, verbose=False)


class RankSeed(pl.Callback):
    """Gives every rank a stream of its own for what the network draws (dropout); the data do not depend on it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        torch.manual_seed(self.seed + trainer.global_rank + 1000 * trainer.global_step)
