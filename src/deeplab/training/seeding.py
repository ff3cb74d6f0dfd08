"""One seed for everything that is drawn."""

import logging
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch


def seed_everything(seed: int) -> None:
    """Seed python, numpy and torch, and the data workers; the same on every rank, so that weights start equal."""
    logging.getLogger("lightning_fabric.utilities.seed").setLevel(logging.WARNING)
    pl.seed_everything(seed, workers=True, verbose=False)


class RankSeed(pl.Callback):
    """Makes what the network draws in a step (dropout) depend on (seed, rank, step) alone.

    So ranks draw differently, and a resumed run draws what the uninterrupted one would have, whatever validation or
    other callbacks drew in between. The data do not depend on it.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # Neighbouring numbers are mixed, for generators seeded with them may be alike at first.
        mixed = np.random.SeedSequence([self.seed, trainer.global_rank, trainer.global_step])
        number = int(mixed.generate_state(1, np.uint64)[0])
        # torch.manual_seed seeds every kind of device there could be, which takes a millisecond.
        torch.default_generator.manual_seed(number)
        if pl_module.device.type == "cuda":
            torch.cuda.manual_seed(number)
