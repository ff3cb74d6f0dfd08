"""Mixed precision, and what happens when numbers leave its range."""

from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision

from deeplab.training.finite_loss import NonFiniteLossError

MULTIPLIERS = dict.fromkeys(("backbone_weight", "backbone_bias", "head_weight", "head_bias"), 1.0)


class Types(pl.Callback):
    """The type of the logits in every forward pass of training."""

    def __init__(self) -> None:
        self.types: set[torch.dtype] = set()

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        module.network.head.register_forward_hook(lambda _, __, logits: self.types.add(logits.dtype))


def test_bfloat16_follows_float32(
    tiny: Any, segmentation: Any, batches: Any, trainer: Any, record: Any, pictures: Any, loader: Any
) -> None:
    curves = []
    for precision in ("32-true", "bf16-mixed"):
        types = Types()
        module = segmentation(tiny(), batch_size_per_device=3)
        fit = trainer(8, [record, types], precision=precision, val_check_interval=8, check_val_every_n_epoch=None)
        fit.fit(module, batches(), loader(pictures))
        curves.append(record("train/loss")[-8:])
        assert 0 <= float(fit.callback_metrics["val/miou"]) <= 1
        assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert types.types == {torch.bfloat16}
    assert curves[1] == pytest.approx(curves[0], rel=0.02)
    assert curves[1] != curves[0]
    assert curves[1][-1] < curves[1][0]


def test_float16_scales_losses_and_clips_unscaled_gradients(
    tiny: Any, segmentation: Any, batches: Any, trainer: Any, record: Any
) -> None:
    """With scaler; Lightning itself refuses it on a CPU, torch does not."""
    start, types = tiny(), Types()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    module = segmentation(
        tiny(),
        optimizer=torch.optim.SGD,
        schedule=lambda step: 1.0,
        lr=1.0,
        weight_decay=0.0,
        multipliers=MULTIPLIERS,
        gradient_clip=1e-3,
        batch_size_per_device=3,
    )
    fit = trainer(1, [record, types], precision=None, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    fit.fit(module, batches())
    moved = torch.cat([(a - b).flatten() for a, b in zip(module.parameters(), start.parameters(), strict=True)])
    assert types.types == {torch.float16}
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_float16_leaves_out_a_step_whose_gradients_overflow(
    tiny: Any, segmentation: Any, batches: Any, trainer: Any, record: Any, recwarn: pytest.WarningsRecorder
) -> None:
    """Which is how a scaler finds its scale, and no news: torch's warning about the schedule is not for the user."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    module = segmentation(tiny(), optimizer=partial(torch.optim.SGD, momentum=0.0))
    trainer(1, [record], precision=None, plugins=[MixedPrecision("16-mixed", "cpu", scaler)]).fit(module, batches())
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), tiny().parameters(), strict=True))
    assert scaler.get_scale() == 2.0**39
    assert not [each for each in recwarn if "lr_scheduler" in str(each.message)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_with_the_pictures(
    bad: float, tiny: Any, segmentation: Any, batches: Any, trainer: Any
) -> None:
    data = batches()
    make = data.make

    def spoilt(epoch: int, number: int) -> dict[str, Any]:
        batch = make(epoch, number)
        if number == 2:
            batch["image"][5, :, 16, 16] = bad
        return batch

    data.make = spoilt
    module = segmentation(tiny(), batch_size_per_device=3)
    with pytest.raises(NonFiniteLossError, match="step 2") as error:
        trainer(4).fit(module, data)
    assert (error.value.step, error.value.ids) == (2, [f"0_2_{i}" for i in range(8)])
    assert all(p.isfinite().all() for p in module.parameters())
