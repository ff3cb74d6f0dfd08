"""What a user sees while a network trains, and the seeds."""

import logging
import random
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import RichProgressBar
from torch.utils.data import DataLoader, TensorDataset

from deeplab.training import throughput
from deeplab.training.progress import Bar, ProgressLines, progress_display
from deeplab.training.seeding import RankSeed, seed_everything


def test_lines_hold_step_loss_rate_and_validation(
    tiny: Any,
    segmentation: Any,
    batches: Any,
    trainer: Any,
    pictures: Any,
    loader: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lines = ProgressLines(every_n_steps=3, seconds=0)
    options = {"val_check_interval": 4, "check_val_every_n_epoch": None}
    with caplog.at_level(logging.INFO, "deeplab"):
        trainer(5, [throughput.Throughput(8), lines], **options).fit(segmentation(tiny()), batches(), loader(pictures))
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("deeplab")]
    assert [message.split(" train/loss")[0] for message in messages[::2]] == ["step 3/5", "step 5/5"]
    assert messages[1].startswith("step 4: validation mIoU 0.")
    for part in ("train/loss ", "lr ", "img/s "):
        assert part in messages[0]


def test_lines_come_at_most_every_so_many_seconds(caplog: pytest.LogCaptureFixture) -> None:
    lines = ProgressLines(every_n_steps=1, seconds=3600)
    run: Any = SimpleNamespace(global_step=0, max_steps=5, is_global_zero=True, progress_bar_metrics={})
    with caplog.at_level(logging.INFO, "deeplab"):
        for step in range(1, 6):
            run.global_step = step
            lines.on_train_batch_end(run, None, None, None, step)
    assert [record.getMessage().split()[1] for record in caplog.records] == ["1/5", "5/5"]


def test_a_bar_where_a_person_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: True))
    assert isinstance(progress_display(10), RichProgressBar)
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: False))
    assert isinstance(progress_display(10), ProgressLines)


def test_the_bar_keeps_what_was_logged_last_in_sight() -> None:
    bar = Bar()
    run: Any = SimpleNamespace(loggers=[], progress_bar_metrics={})
    row = {"train/loss": torch.tensor(0.75), "train/lr/backbone_weight": 0.1, "train/lr/head_weight": 1.0}
    module: Any = SimpleNamespace(row={**row, "train/images_per_second": 30.0, "train/grad_norm": 2.0})
    seen = {"train/loss": 0.75, "lr": 0.1, "img/s": 30.0}
    assert bar.get_metrics(run, module) == seen
    module.row = {}
    run.progress_bar_metrics = {"val/miou": 0.5}
    assert bar.get_metrics(run, module) == {**seen, "val/miou": 0.5}


class OneWeight(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        return self.weight * batch[0].sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_the_bar_is_one_over_all_steps_and_goes_on_where_a_run_is_resumed(tmp_path: Path) -> None:
    seen = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            (task,) = bar.progress.tasks
            seen.append((task.description.strip(), task.completed, task.total, task.id))

    data = DataLoader(TensorDataset(torch.ones(4, 1)))
    options: dict[str, Any] = {"logger": False, "accelerator": "cpu", "enable_model_summary": False}
    options |= {"accumulate_grad_batches": 2, "max_epochs": -1, "default_root_dir": tmp_path}
    for steps in (3, 7):  # epochs of two steps
        bar = Bar()
        trainer = pl.Trainer(max_steps=steps, callbacks=[bar, Watch()], enable_checkpointing=False, **options)
        trainer.fit(OneWeight(), data, ckpt_path=tmp_path / "3.ckpt" if steps == 7 else None, weights_only=True)
        if steps == 3:
            trainer.save_checkpoint(tmp_path / "3.ckpt")
    assert {each[0] for each in seen} == {"Training"} and len({each[3] for each in seen}) == 1
    first, second = ([each[1] for each in seen if each[2] == steps] for steps in (3, 7))
    assert first == [0, 1, 1, 2, 2, 3]
    assert second == sorted(second) and second[0] == 3 and second[-1] == 7


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_throughput_counts_steps_but_neither_warm_up_nor_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    logged: dict[str, float] = {}
    module: Any = SimpleNamespace(device=torch.device("cpu"), row=logged)
    counter = throughput.Throughput(global_batch_size=10, warm_up=2)
    run: Any = SimpleNamespace(global_step=0, log_every_n_steps=1, max_steps=100)

    def step(wait: float, work: float) -> None:
        clock.now += wait
        counter.on_train_batch_start(run, module, None, 0)
        clock.now += work
        counter.on_train_batch_end(run, module, None, None, 0)

    step(50, 50)  # the first has no beginning
    assert counter.images_per_second is None and not logged
    step(30, 30)
    step(30, 30)
    assert counter.images_per_second is None
    step(1, 3)
    assert counter.images_per_second == pytest.approx(10 / 4)
    assert logged["train/data_wait"] == pytest.approx(1 / 4)
    counter.on_validation_start(run, module)
    clock.now += 1000
    step(0, 7)  # its beginning is unknown too
    step(2, 4)
    assert counter.images_per_second == pytest.approx(20 / 10)
    assert logged["train/data_wait"] == pytest.approx(2 / 6)

    run.log_every_n_steps = 3
    logged.clear()
    for run.global_step, wait, work in [(1, 1, 1), (2, 0, 5), (3, 2, 1)]:
        step(wait, work)
        assert bool(logged) == (run.global_step == 3)
    assert logged["train/data_wait"] == pytest.approx(3 / 10)
    logged.clear()
    run.global_step = 4
    step(2, 2)
    counter.on_validation_start(run, module)
    run.global_step = 6
    step(0, 7)  # not measured itself, but the fourth was
    assert logged["train/data_wait"] == pytest.approx(2 / 4)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here to compare with")
def test_peak_memory_is_that_of_the_process() -> None:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    assert throughput.peak_memory(torch.device("cpu")) == pytest.approx(1024 * int(line.split()[1]), rel=0.05)


def test_one_seed_for_everything() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first
    seed_everything(4)
    assert draw() != first


def test_streams_depend_on_seed_rank_and_step_alone() -> None:
    def draw(seed: int, rank: int, step: int) -> float:
        torch.rand(5)
        run: Any = SimpleNamespace(global_rank=rank, global_step=step)
        module: Any = pl.LightningModule()
        RankSeed(seed).on_train_batch_start(run, module, None, 0)
        return float(torch.rand(1))

    draws = {key: draw(*key) for key in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 1000), (1000, 0, 0)]}
    assert len(set(draws.values())) == len(draws)
    assert draw(0, 1, 0) == draws[0, 1, 0]
