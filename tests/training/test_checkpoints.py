"""Checkpoints: what they hold, and that a run resumed from one ends as if nothing had happened."""

import csv
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from deeplab.models.checkpoint_file import CHECKPOINT_KEY
from deeplab.training.checkpoints import checkpoint_callbacks
from deeplab.training.seeding import RankSeed

STEPS = 11


class StopError(RuntimeError):
    pass


class StopAt(pl.Callback):
    """Ends the run like a kill, in the middle of a step or of a validation."""

    def __init__(self, step: int, validating: bool = False) -> None:
        self.step, self.validating = step, validating

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if not self.validating and trainer.global_step == self.step:
            raise StopError

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.validating and trainer.global_step == self.step:
            raise StopError


@pytest.fixture
def fit(tiny: Any, segmentation: Any, batches: Any, pictures: Any, loader: Any, trainer_in: Any) -> Any:
    """Train, with dropout and with micro-batches, in epochs of four steps."""

    def run(
        folder: Path, every: int = 3, stop: Any = None, resume: Any = None, steps: int = STEPS, validate: int = 2
    ) -> Any:
        torch.manual_seed(1 if resume else 2)  # what the process drew before must not matter
        module = segmentation(tiny(dropout=0.5), batch_size_per_device=3)
        best, last = checkpoint_callbacks(folder / "checkpoints", every)
        callbacks = [RankSeed(7), best, last, *([stop] if stop else [])]
        trainer = trainer_in(
            folder,
            steps,
            callbacks,
            val_check_interval=validate,
            check_val_every_n_epoch=None,
            enable_checkpointing=True,
        )
        arguments = (module, batches(), loader(pictures))
        if stop is None:
            trainer.fit(*arguments, ckpt_path=resume, weights_only=True)
        else:
            with pytest.raises(StopError):
                trainer.fit(*arguments, ckpt_path=resume, weights_only=True)
        return module

    return run


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


# With and without validation at the step of the checkpoint, at the end of an epoch (4, 8) and in its middle.
@pytest.mark.parametrize("validate", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("every", "kill"), [(3, 5), (3, 8), (4, 4), (4, 7), (1, 3), (1, 4), (1, 6), (1, 10)])
def test_a_killed_run_ends_as_an_undisturbed_one(
    every: int, kill: int, validate: int, fit: Any, tmp_path: Path
) -> None:
    undisturbed = fit(tmp_path / "a", every, validate=validate)
    fit(tmp_path / "b", every, StopAt(kill), validate=validate)
    last = tmp_path / "b" / "checkpoints" / "last.ckpt"
    # the last one that was due, or was written before a validation
    written = max(kill // every * every, kill // validate * validate)
    assert torch.load(last, weights_only=True)["global_step"] == written
    resumed = fit(tmp_path / "b", every, resume=last, validate=validate)
    assert same_weights(undisturbed, resumed)
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    trained = [int(row["step"]) for row in rows(tmp_path / "b") if row["train/loss"]]
    assert trained == list(range(1, STEPS + 1))
    validated = [int(row["step"]) for row in rows(tmp_path / "b") if row["val/miou"]]
    assert validated == list(range(validate, STEPS + 1, validate))


# In the middle of an epoch, at its end, and after the last step, whose checkpoint waits for the validation.
@pytest.mark.parametrize(("validate", "kill", "written"), [(3, 6, 6), (2, 6, 6), (4, 8, 8), (2, 4, 4), (11, 11, 9)])
def test_a_run_killed_while_it_validates_validates_again(
    validate: int, kill: int, written: int, fit: Any, tmp_path: Path
) -> None:
    undisturbed = fit(tmp_path / "a", 3, validate=validate)
    fit(tmp_path / "b", 3, StopAt(kill, validating=True), validate=validate)
    last = tmp_path / "b" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == written
    assert same_weights(undisturbed, fit(tmp_path / "b", 3, resume=last, validate=validate))
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_a_finished_run_can_go_on(fit: Any, tmp_path: Path) -> None:
    undisturbed = fit(tmp_path / "a")
    fit(tmp_path / "b", steps=6)
    resumed = fit(tmp_path / "b", resume=tmp_path / "b" / "checkpoints" / "last.ckpt")
    assert same_weights(undisturbed, resumed)
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_dropout_draws_differently_in_every_step(tiny: Any, segmentation: Any, batches: Any, trainer: Any) -> None:
    """Or the test above would hold for the wrong reason."""
    masks: list[torch.Tensor] = []
    module = segmentation(tiny(dropout=0.5))
    dropout = module.network.head.dropout
    dropout.register_forward_pre_hook(lambda _, inputs: (torch.ones_like(inputs[0]),))
    dropout.register_forward_hook(lambda _, __, out: masks.append(out.detach().clone()))
    trainer(3, [RankSeed(7)]).fit(module, batches())
    assert len(masks) == 6
    assert all(not torch.equal(a, b) for i, a in enumerate(masks) for b in masks[:i])


def test_best_and_last_and_what_they_hold(fit: Any, tmp_path: Path) -> None:
    module = fit(tmp_path, 3)
    folder = tmp_path / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "last.ckpt", "previous.ckpt"]
    best, last = (torch.load(folder / name, weights_only=True) for name in ("best.ckpt", "last.ckpt"))
    assert last["global_step"] == STEPS
    assert last[CHECKPOINT_KEY] == {"config": {"name": "test"}}
    assert best[CHECKPOINT_KEY] == last[CHECKPOINT_KEY]
    assert all(torch.equal(last["state_dict"][name], value) for name, value in module.state_dict().items())
    scores = {int(row["step"]): float(row["val/miou"]) for row in rows(tmp_path) if row["val/miou"]}
    assert best["global_step"] == next(step for step, score in scores.items() if score == max(scores.values()))


def test_last_knows_the_best_score(fit: Any, tmp_path: Path) -> None:
    """A run resumed from it must not take a worse network for the best."""
    fit(tmp_path, 2, steps=2)
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    [state] = [state for name, state in last["callbacks"].items() if name.startswith("ModelCheckpoint")]
    assert float(state["best_model_score"]) == pytest.approx(float(rows(tmp_path)[-1]["val/miou"]))
