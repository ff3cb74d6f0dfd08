"""Frozen batch normalisation stays as loaded whatever Lightning switches; free one is trained."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

WITH_VALIDATION = {"val_check_interval": 2, "check_val_every_n_epoch": None}


class Modes(pl.Callback):
    """Whether the batch normalisations are in training mode, in each training step and in each validation step."""

    def __init__(self) -> None:
        self.in_training: list[bool] = []
        self.in_validation: list[bool] = []

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        self.in_training += [norm.training for norm in norms(module)]
        assert module.network.head.training

    def on_validation_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        self.in_validation += [norm.training for norm in norms(module)]
        assert not module.network.head.training


def norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]


def state(module: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for norm in norms(module) for value in norm.state_dict().values()]


@pytest.mark.parametrize("scales", [(), (1.0, 0.5)])
def test_frozen_through_training_and_validation(
    scales: Any, tiny: Any, segmentation: Any, batches: Any, trainer: Any, pictures: Any, loader: Any
) -> None:
    module, modes = segmentation(tiny(scales=scales), freeze_bn=True), Modes()
    before, head = state(module), module.network.head.fc8.weight.clone()
    trainer(5, [modes], **WITH_VALIDATION).fit(module, batches(), loader(pictures[:2]))
    assert all(torch.equal(a, b) for a, b in zip(state(module), before, strict=True))
    assert not torch.equal(module.network.head.fc8.weight, head)
    assert not any(modes.in_training) and len(modes.in_training) == 5 * len(norms(module))
    assert not any(modes.in_validation) and len(modes.in_validation) == 2 * 2 * len(norms(module))
    module.train()
    assert not any(norm.training for norm in norms(module))
    assert module.network.head.training
    frozen = {id(parameter) for norm in norms(module) for parameter in norm.parameters()}
    assert not frozen & {
        id(p) for group in module.configure_optimizers()["optimizer"].param_groups for p in group["params"]
    }


def test_trained_where_it_is_not_frozen(
    tiny: Any, segmentation: Any, batches: Any, trainer: Any, pictures: Any, loader: Any
) -> None:
    module, modes = segmentation(tiny(), freeze_bn=False), Modes()
    before = state(module)
    trainer(5, [modes], **WITH_VALIDATION).fit(module, batches(), loader(pictures[:2]))
    assert not any(torch.equal(a, b) for a, b in zip(state(module), before, strict=True))
    assert all(modes.in_training)
    assert not any(modes.in_validation)


def test_validation_moves_no_statistics(tiny: Any, segmentation: Any, trainer: Any, pictures: Any, loader: Any) -> None:
    module = segmentation(tiny(), freeze_bn=False)
    before = state(module)
    trainer(1).validate(module, loader(pictures), verbose=False)
    assert all(torch.equal(a, b) for a, b in zip(state(module), before, strict=True))
