"""One rank of the runs that `test_ddp.py` compares: python ddp_run.py FOLDER RANKS, with LOCAL_RANK set for two."""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import pytorch_lightning as pl
import torch
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from conftest import (
    NAMES,
    Batches,
    Record,
    make_colour_network,
    make_module,
    make_network,
    make_pictures,
    make_trainer,
    picture_loader,
)
from deeplab.crf.params import CRFParams
from deeplab.training.checkpoints import checkpoint_callbacks
from deeplab.training.crf_evaluation import CRFEvaluation
from deeplab.training.finite_loss import NonFiniteLossError
from deeplab.training.seeding import RankSeed

FOLDER, RANKS, RANK = Path(sys.argv[1]), int(sys.argv[2]), int(os.environ.get("LOCAL_RANK", "0"))
PLACE = FOLDER / f"of_{RANKS}"  # runs of one process and of two are made at the same time
STEPS = 20
WEIGHTS = [0.3, *[1.7] * (len(NAMES) - 1)]


class Exchanges(pl.Callback):
    """Counts the buckets of gradients that are sent to the other rank."""

    def __init__(self) -> None:
        self.count = 0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if isinstance(trainer.strategy.model, DistributedDataParallel):
            trainer.strategy.model.register_comm_hook(None, self._exchange)

    def _exchange(self, _: Any, bucket: torch.distributed.GradBucket) -> torch.futures.Future[torch.Tensor]:
        self.count += 1
        return allreduce_hook(None, bucket)


def trainer_of(name: str, steps: int, callbacks: list[pl.Callback], **options: Any) -> pl.Trainer:
    spread = {"devices": RANKS, "strategy": "ddp"} if RANKS > 1 else {}
    return make_trainer(PLACE / name, steps, callbacks, **{"precision": "64-true", **spread, **options})


def shared_batches(**options: Any) -> Batches:
    return Batches(ranks=RANKS, rank=RANK, **options)


def train(
    name: str, scales: Any = (), dropout: float = 0.0, precision: str = "64-true", **changes: Any
) -> dict[str, Any]:
    record, exchanges = Record(), Exchanges()
    module = make_module(make_network(scales=scales, dropout=dropout), **changes)
    masks: list[torch.Tensor] = []
    if dropout:
        layer = (module.network.network if scales else module.network).head.dropout
        layer.register_forward_pre_hook(lambda _, inputs: (inputs[0] * 0 + 1,))
        layer.register_forward_hook(lambda _, __, out: masks.append(out.detach().clone()))
    callbacks = [RankSeed(7), record, exchanges]
    trainer_of(name, STEPS, callbacks, precision=precision).fit(module, shared_batches(crop=65 if scales else 33))
    return {
        "steps": record.steps,
        "weights": module.network.state_dict(),
        "exchanges": exchanges.count,
        "mask": masks[0] if masks else None,
    }


def evaluate() -> dict[str, Any]:
    """Validation in training, before and after the CRF, of three pictures: one rank has two of them."""
    crf = CRFEvaluation(CRFParams(iterations=2), "exact", NAMES, workers=1, max_pixels=600)
    pictures = make_pictures(2) + make_pictures(1, height=30, width=40)
    best, last = checkpoint_callbacks(PLACE / "evaluate" / "checkpoints", 2)
    trainer = trainer_of(
        "evaluate", 2, [crf, best, last], val_check_interval=2, check_val_every_n_epoch=None, enable_checkpointing=True
    )
    module = make_module(make_colour_network(), lr=1e-6)
    trainer.fit(module, shared_batches(), picture_loader(pictures[RANK::RANKS]))
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    tested = trainer_of("test", 2, [crf])
    tested.test(module, picture_loader(pictures[RANK::RANKS]), verbose=False)
    return {"metrics": metrics, "skipped": crf.num_skipped, "pixels": int(crf.confusion.compute().sum())}


def not_finite() -> dict[str, Any]:
    """The picture that spoils the loss is the last one: with two ranks, rank 1 has it."""
    data = shared_batches()
    make = data.make

    def spoilt(epoch: int, number: int) -> dict[str, Any]:
        batch = make(epoch, number)
        batch["image"][7] = float("nan")
        return batch

    data.make = spoilt
    try:
        trainer_of("not_finite", 2, []).fit(make_module(), data)
    except NonFiniteLossError as error:
        return {"step": error.step, "ids": error.ids}
    raise AssertionError("trained on NaN")


def main() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results: dict[str, Any] = {
            "one_picture_groups": train("a", loss_group=1, batch_size_per_device=3),
            "groups_over_ranks": train("b", loss_group=8, batch_size_per_device=1),
            "multi_scale": train("c", scales=(1.0, 0.75, 0.5), loss_group=4, batch_size_per_device=2),
            "class_weights": train("w", loss_group=4, batch_size_per_device=3, class_weights=WEIGHTS),
            "float32": train("e", loss_group=4, batch_size_per_device=2, precision="32-true"),
            "dropout": train("d", dropout=0.5),
            "evaluate": evaluate(),
            "not_finite": not_finite(),
        }
    results["warnings"] = sorted({str(each.message) for each in caught})
    torch.save(results, FOLDER / f"results_{RANK}_of_{RANKS}.pt")


if __name__ == "__main__":
    main()
