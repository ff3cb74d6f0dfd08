"""The DataModule under Lightning's Trainer: resuming at any checkpoint, and evaluation over ranks."""

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from deeplab.data.module import SegmentationData
from deeplab.data.scenes import Scenes

NAMES = ["background", "ball", "crate", "ring", "rope", "star", "leaf", "mug"]


class Recorder(pl.LightningModule):
    """Writes down what it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained: list[tuple[int, list[str]]] = []
        self.sums: list[float] = []

    def training_step(self, batch: dict[str, Any], batch_index: int) -> torch.Tensor:
        self.trained.append((self.current_epoch, batch["id"]))
        self.sums.append(float(batch["image"].double().sum()))
        return self.weight * batch["image"].mean()

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder: Path, resume: Path | None = None, limit: int | None = None, **options: Any) -> Recorder:
    data = SegmentationData(
        layout=Scenes({"train": 13, "val": 2}, height=40, width=48),
        num_classes=8,
        class_names=NAMES,
        pad_rgb=(122.675, 116.669, 104.008),
        seed=0,
        crop_size=33,
        scales=[0.75, 1.0],
        global_batch_size=2,
    )
    recorder = Recorder()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
        callbacks=[ModelCheckpoint(folder, "{step}", save_top_k=-1, **options)],
        num_sanity_val_steps=0,
        max_steps=16,
        max_epochs=-1,
        limit_train_batches=limit,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(recorder, data, ckpt_path=resume)
    return recorder


@pytest.mark.parametrize(
    "options",
    [
        {"every_n_train_steps": 1},
        {"every_n_epochs": 1, "save_on_train_epoch_end": True},
        {"every_n_epochs": 1, "save_on_train_epoch_end": False},
        {"every_n_train_steps": 3, "limit": 4},
        {"every_n_epochs": 1, "save_on_train_epoch_end": True, "limit": 4},
    ],
)
def test_resuming_at_any_checkpoint_continues_the_same_data(tmp_path: Path, options: dict[str, Any]) -> None:
    whole = fit(tmp_path / "whole", **options)
    length = options.get("limit", 6)
    assert [epoch for epoch, _ in whole.trained] == [i // length for i in range(16)]
    checkpoints = sorted((tmp_path / "whole").glob("*.ckpt"))
    assert len(checkpoints) >= 2
    for checkpoint in checkpoints:
        done = int(checkpoint.stem.removeprefix("step="))
        resumed = fit(tmp_path / "resumed", checkpoint, options.get("limit"), every_n_epochs=99)
        assert resumed.trained == whole.trained[done:], checkpoint.name
        assert resumed.sums == whole.sums[done:]


DDP_SCRIPT = """
import json, sys
import pytorch_lightning as pl
import torch
from deeplab.data.module import SegmentationData
from deeplab.data.scenes import Scenes

class Recorder(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = {"train": [], "val": []}
    def training_step(self, batch, index):
        self.seen["train"].append(batch["id"])
        return self.weight * batch["image"].mean()
    def validation_step(self, batch, index):
        self.seen["val"].append(batch["id"])
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

if __name__ == "__main__":
    folder, val = sys.argv[1], int(sys.argv[2])
    data = SegmentationData(
        layout=Scenes({"train": 13, "val": val}, height=40, width=48), num_classes=8,
        class_names=list("abcdefgh"), pad_rgb=(1.0, 2.0, 3.0), seed=0, crop_size=33, global_batch_size=4)
    recorder = Recorder()
    trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, use_distributed_sampler=False, max_epochs=1,
        num_sanity_val_steps=0)
    trainer.fit(recorder, data)
    with open(f"{folder}/{trainer.global_rank}.json", "w") as file:
        json.dump(recorder.seen, file)
"""


@pytest.mark.slow
@pytest.mark.parametrize("val", [3, 1])
def test_two_ranks_share_each_global_batch_and_evaluate_each_picture_once(tmp_path: Path, val: int) -> None:
    (tmp_path / "script.py").write_text(DDP_SCRIPT)
    subprocess.run([sys.executable, tmp_path / "script.py", tmp_path, str(val)], check=True, timeout=300)
    seen = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    validated = sorted(seen[0]["val"] + seen[1]["val"])
    assert validated == [f"val_{i:06d}" for i in range(val)]
    # Rank r holds the r-th half of each of one process' batches.
    together = [
        name for pair in zip(seen[0]["train"], seen[1]["train"], strict=True) for batch in pair for name in batch
    ]
    data = SegmentationData(
        layout=Scenes({"train": 13}, height=40, width=48),
        num_classes=8,
        class_names=NAMES,
        pad_rgb=(1.0, 2.0, 3.0),
        seed=0,
        crop_size=33,
        global_batch_size=4,
    )
    assert together == [name for batch in data.train_dataloader() for name in batch["id"]]
