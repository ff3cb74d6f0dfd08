"""Tiny networks, hand-made batches and a Trainer; also imported by the scripts that tests run in other processes."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from deeplab.config.build import WARNINGS_WITHOUT_USE
from deeplab.inference.probabilities import Inference
from deeplab.models.deeplab import DeepLab
from deeplab.models.heads import Classifier, LargeFOV
from deeplab.models.image_input import ImageInput
from deeplab.models.multi_scale import MultiScale
from deeplab.training.module import SegmentationModule
from deeplab.training.run_metrics import RunMetrics
from deeplab.training.schedule import Poly

# Tests train without validation, and go on in the folder of a run that was killed.
MEANT_HERE = ("You defined a `validation_step` but have no", "Checkpoint directory .* exists and is not empty")
NUM_CLASSES = 4
NAMES = ["ground", "ball", "crate", "ring"]
MULTIPLIERS = {"backbone_weight": 1.0, "backbone_bias": 2.0, "head_weight": 10.0, "head_bias": 20.0}
GLOBAL_BATCH = 8
COLOURS = torch.tensor([[200.0, 30, 30], [30, 200, 30], [30, 30, 200], [120, 120, 120]])

Batch = dict[str, Any]


class Backbone(nn.Module):
    """Three 3x3 convolutions of stride 2, with batch normalisation or without."""

    def __init__(self, batch_norm: bool = True) -> None:
        super().__init__()
        self.out_channels, self.output_stride = 8, 8
        layers: list[nn.Module] = []
        for channels in ((3, 4), (4, 6), (6, 8)):
            norm = nn.BatchNorm2d(channels[1]) if batch_norm else nn.Identity()
            layers += [nn.Conv2d(*channels, 3, 2, 1), norm, nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


def make_network(batch_norm: bool = True, dropout: float = 0.0, scales: Sequence[float] = ()) -> DeepLab | MultiScale:
    torch.manual_seed(0)
    network = DeepLab(
        input=ImageInput("rgb", 1 / 255, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        backbone=Backbone(batch_norm),
        head=partial(LargeFOV, rate=2, hidden_channels=8, dropout=dropout),
        num_classes=NUM_CLASSES,
    )
    # Statistics that are neither 0 and 1 nor those of the batches.
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    # Classifiers that start from a standard deviation of 0.01 would learn nothing in a few steps.
    nn.init.normal_(network.head.fc8.weight, std=0.3)
    return MultiScale(network, scales) if scales else network


class NearestColour(nn.Module):
    """Takes every eighth pixel; the head below gives the class whose colour is nearest, mistaken where noise is."""

    def __init__(self) -> None:
        super().__init__()
        self.out_channels, self.output_stride = 3, 8

    def forward(self, image: Tensor) -> Tensor:
        return image[:, :, ::8, ::8]


def make_colour_network() -> DeepLab:
    """A network that needs no training: its predictions hold every class, and some errors."""
    network = DeepLab(ImageInput("rgb", 1 / 255, (0, 0, 0), (1, 1, 1)), NearestColour(), Classifier, NUM_CLASSES)
    colours = COLOURS / 255
    with torch.no_grad():
        network.head.fc.weight.copy_(40 * colours[:, :, None, None])
        network.head.fc.bias.copy_(-20 * (colours**2).sum(1))
    return network


def make_module(network: DeepLab | MultiScale | None = None, **changes: Any) -> SegmentationModule:
    options: dict[str, Any] = {
        "inference": Inference(),
        "class_names": NAMES,
        "optimizer": partial(torch.optim.SGD, momentum=0.9),
        "schedule": Poly(20),
        "lr": 1e-2,
        "weight_decay": 5e-3,
        "multipliers": MULTIPLIERS,
        "global_batch_size": GLOBAL_BATCH,
        "loss_group": 4,
        "batch_size_per_device": GLOBAL_BATCH,
        "freeze_bn": True,
        "gradient_clip": None,
        "max_probability_pixels": 10**6,
        "record": {"config": {"name": "test"}},
    }
    return SegmentationModule(network or make_network(), **{**options, **changes})


class Batches:
    """Global batches that depend on (epoch, number) only: the share of one rank, resumable as the DataModule's are.

    Picture 1 is void alone, and the upper rows of every third picture are void.
    """

    def __init__(
        self, per_epoch: int = 4, crop: int = 33, size: int = GLOBAL_BATCH, ranks: int = 1, rank: int = 0
    ) -> None:
        self.per_epoch, self.crop, self.size = per_epoch, crop, size
        share = size // ranks
        self.share = slice(rank * share, (rank + 1) * share)
        self.handed_out = 0  # since the start of training

    def make(self, epoch: int, number: int) -> Batch:
        generator = torch.Generator().manual_seed(1000 * epoch + number)
        blocks = torch.randint(0, NUM_CLASSES, (self.size, 4, 4), generator=generator)
        at = torch.arange(self.crop) * 4 // self.crop
        label = blocks[:, at][:, :, at].contiguous()
        noise = 20 * torch.randn(self.size, 3, self.crop, self.crop, generator=generator)
        image = (COLOURS[label].permute(0, 3, 1, 2) + noise).clamp(0, 255)
        label[1] = 255
        label[::3, : self.crop // 2] = 255
        return {"id": [f"{epoch}_{number}_{i}" for i in range(self.size)], "image": image, "label": label}

    def __len__(self) -> int:
        return self.per_epoch

    def __iter__(self) -> Iterator[Batch]:
        for number in range(self.handed_out, self.handed_out + self.per_epoch):
            batch = self.make(*divmod(number, self.per_epoch))
            self.handed_out += 1
            yield {key: value[self.share] for key, value in batch.items()}

    def state_dict(self) -> dict[str, int]:
        return {"handed_out": self.handed_out}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.handed_out = state["handed_out"]


def make_pictures(count: int = 5, height: int = 20, width: int = 26) -> list[Batch]:
    """Whole pictures as validation gets them: blocks of one class each, noise on the colours, some void."""
    rng = np.random.default_rng(0)
    pictures = []
    for i in range(count):
        label = rng.integers(0, NUM_CLASSES, (2, 2)).repeat(height // 2, 0).repeat(width // 2, 1)
        image = (COLOURS.numpy()[label] + rng.normal(0, 60, (height, width, 3))).clip(0, 255)
        label[:2, :3] = 255
        pictures.append(
            {
                "id": f"picture_{i}",
                "image": torch.from_numpy(image.astype(np.uint8)),
                "label": torch.from_numpy(label.astype(np.uint8)),
            }
        )
    return pictures


def picture_loader(pictures: list[Batch]) -> DataLoader[Batch]:
    return DataLoader(pictures, batch_size=None, collate_fn=lambda one: one)  # type: ignore[arg-type]


def make_trainer(folder: Path, steps: int, callbacks: Sequence[pl.Callback] = (), **options: Any) -> pl.Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "precision": "32-true",
        "max_steps": steps,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "use_distributed_sampler": False,
        "logger": [RunMetrics(folder)],
        "default_root_dir": str(folder),
    }
    for message in (*WARNINGS_WITHOUT_USE, *MEANT_HERE):
        warnings.filterwarnings("ignore", message)
    return pl.Trainer(callbacks=list(callbacks), **{**defaults, **options})


class Record(pl.Callback):
    """Keeps what every step logged."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self.steps.append({name: float(value) for name, value in pl_module.row.items()})

    def __call__(self, name: str) -> list[float]:
        return [step[name] for step in self.steps]


@pytest.fixture
def tiny() -> Callable[..., DeepLab | MultiScale]:
    return make_network


@pytest.fixture
def colour_network() -> Callable[[], DeepLab]:
    return make_colour_network


@pytest.fixture
def segmentation() -> Callable[..., SegmentationModule]:
    return make_module


@pytest.fixture
def batches() -> type[Batches]:
    return Batches


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., pl.Trainer]:
    return partial(make_trainer, tmp_path)


@pytest.fixture
def trainer_in() -> Callable[..., pl.Trainer]:
    return make_trainer


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def pictures() -> list[Batch]:
    return make_pictures()


@pytest.fixture
def loader() -> Callable[[list[Batch]], DataLoader[Batch]]:
    return picture_loader
