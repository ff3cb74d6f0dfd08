"""One optimizer step of the LightningModule, in float64, against loops and formulas written out by hand."""

import math
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

NUM_CLASSES, GLOBAL_BATCH = 4, 8
GRADIENT_ONLY = {"optimizer": torch.optim.SGD, "schedule": lambda step: 1.0, "weight_decay": 0.0}


def group_loss(logits: Tensor, label: Tensor, group: int) -> Tensor:
    """Mean over groups of the mean over each group's valid pixels."""
    losses = []
    for start in range(0, len(label), group):
        part = label[start : start + group]
        each = F.cross_entropy(logits[start : start + group], part, ignore_index=255, reduction="sum")
        losses.append(each / max(1, int((part != 255).sum())))
    return torch.stack(losses).mean()


def difference(one: nn.Module, other: nn.Module) -> float:
    """Largest relative difference, by tensor norm."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a - b).double().norm() / b.double().norm().clamp(min=1e-300)) for a, b in pairs)


def test_steps_equal_a_loop_written_by_hand(
    tiny: Any, segmentation: Any, batches: Any, trainer: Any, record: Any
) -> None:
    """SGD with momentum and decay written out, per-group rates, the poly policy; the whole batch in one pass."""
    network = tiny()
    other = deepcopy(network).double().eval()
    trainer(6, [record], precision="64-true").fit(segmentation(network), batches())

    rates = {"backbone": {True: 1.0, False: 2.0}, "head": {True: 10.0, False: 20.0}}
    # Batch normalisation is frozen: layers 1, 4 and 7 of the backbone.
    trained = {name: p for name, p in other.named_parameters() if name.split(".")[2] not in ("1", "4", "7")}
    velocity = {name: torch.zeros_like(p) for name, p in trained.items()}
    data, losses = batches(), []
    for step in range(6):
        batch = data.make(step // 4, step % 4)
        loss = group_loss(other(batch["image"].double()), batch["label"][:, ::8, ::8], 4)
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, list(trained.values()))
        factor = (1 - step / 20) ** 0.9
        with torch.no_grad():
            for (name, p), gradient in zip(trained.items(), gradients, strict=True):
                is_weight = name.endswith("weight")
                decayed = gradient + (5e-3 * p if is_weight else 0)
                velocity[name] = 0.9 * velocity[name] + decayed
                p -= 1e-2 * factor * rates[name.split(".")[0]][is_weight] * velocity[name]

    assert record("train/loss") == pytest.approx(losses, rel=1e-12)
    assert difference(network, other) < 1e-12
    assert difference(network, tiny().double()) > 0.1
    assert record("train/lr/head_bias") == pytest.approx([0.2 * (1 - step / 20) ** 0.9 for step in range(6)], rel=1e-6)


def one_step(trainer: Any, module: Any, data: Any, record: Any) -> tuple[float, nn.Module]:
    trainer(1, [record], precision="64-true").fit(module, data)
    return record.steps[-1]["train/loss"], module.network


@pytest.mark.parametrize("group", [4, 8])
def test_class_weights_weigh_pixels_within_a_loss_group(
    group: int, tiny: Any, segmentation: Any, batches: Any, trainer: Any, record: Any
) -> None:
    weights = [1.0, 0.25, 3.0, 0.0]
    network, batch = tiny().double().eval(), batches().make(0, 0)
    logits, label = network(batch["image"].double()), batch["label"][:, ::8, ::8]
    expected = [
        F.cross_entropy(logits[i : i + group], label[i : i + group], torch.tensor(weights).double(), ignore_index=255)
        for i in range(0, GLOBAL_BATCH, group)
    ]
    for size in (3, 8):
        module = segmentation(
            tiny(), batch_size_per_device=size, loss_group=group, class_weights=weights, **GRADIENT_ONLY
        )
        loss, _ = one_step(trainer, module, batches(), record)
        assert loss == pytest.approx(torch.stack(expected).mean().item(), rel=1e-12)
        assert not [name for name in module.state_dict() if "class_weights" in name]


@pytest.mark.parametrize("group", [1, 4, 8])
def test_micro_batches_change_neither_loss_nor_gradients(
    group: int, tiny: Any, segmentation: Any, batches: Any, trainer: Any, record: Any
) -> None:
    results = []
    for size in (1, 3, 8):
        module = segmentation(tiny(), batch_size_per_device=size, loss_group=group, **GRADIENT_ONLY)
        results.append(one_step(trainer, module, batches(), record))
    start, (loss, network) = tiny().double(), results[-1]
    assert difference(network, start) > 1e-3
    for other_loss, other in results[:-1]:
        assert other_loss == pytest.approx(loss, rel=1e-13)
        assert difference(other, network) < 1e-13


@pytest.mark.parametrize("group", [1, 2, 4, 8])
def test_loss_groups_by_closed_form(
    group: int, tiny: Any, segmentation: Any, batches: Any, trainer: Any, record: Any
) -> None:
    """With weights of 0 the classifier's bias alone gives the logits, everywhere the same."""
    network, data = tiny(), batches()
    bias = torch.tensor([0.5, -1.0, 0.0, 2.0])
    with torch.no_grad():
        network.head.fc8.weight.zero_()
        network.head.fc8.bias.copy_(bias)
    module = segmentation(network, loss_group=group, batch_size_per_device=3, **GRADIENT_ONLY)
    loss, _ = one_step(trainer, module, data, record)

    costs = [math.log(sum(math.exp(b) for b in bias.tolist())) - b for b in bias.tolist()]
    labels = data.make(0, 0)["label"][:, ::8, ::8].flatten(1).tolist()
    assert set(labels[1]) == {255}  # alone in its group where groups are of one picture: it costs 0, not NaN
    means = []
    for start in range(0, GLOBAL_BATCH, group):
        pixels = [label for picture in labels[start : start + group] for label in picture if label != 255]
        means.append(sum(costs[label] for label in pixels) / max(1, len(pixels)))
    assert loss == pytest.approx(sum(means) / len(means), rel=1e-12)


def test_a_batch_of_void_alone_trains_nothing(
    tiny: Any, segmentation: Any, batches: Any, trainer: Any, record: Any
) -> None:
    data = batches()
    make = data.make
    data.make = lambda epoch, number: {**(batch := make(epoch, number)), "label": torch.full_like(batch["label"], 255)}
    module = segmentation(tiny(), loss_group=1, **GRADIENT_ONLY)
    loss, network = one_step(trainer, module, data, record)
    assert loss == 0
    assert difference(network, tiny().double()) == 0


def test_every_scale_has_a_loss_and_they_sum_up(
    tiny: Any, segmentation: Any, batches: Any, trainer: Any, record: Any
) -> None:
    network = tiny(scales=(1.0, 0.75, 0.5))
    start = deepcopy(network).double().eval()
    module = segmentation(network, batch_size_per_device=3, loss_group=2)
    trainer(2, [record], precision="64-true").fit(module, batches(crop=65))

    batch = batches(crop=65).make(0, 0)
    logits = start.scale_logits(batch["image"].double())
    assert {name: each.shape[-1] for name, each in logits.items()} == {"fused": 9, "x1": 9, "x075": 9, "x05": 5}
    steps = {"fused": 8, "x1": 8, "x075": 8, "x05": 16}
    expected = {
        name: group_loss(each, batch["label"][:, :: steps[name], :: steps[name]], 2).item()
        for name, each in logits.items()
    }
    logged = record.steps[0]
    assert {name: logged[f"train/loss_{name}"] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert len(set(expected.values())) == 4
    for step in record.steps:
        assert step["train/loss"] == pytest.approx(sum(step[f"train/loss_{name}"] for name in expected), rel=1e-12)


def test_clipping_limits_the_norm_of_all_gradients(
    tiny: Any, segmentation: Any, batches: Any, trainer: Any, record: Any
) -> None:
    multipliers = dict.fromkeys(("backbone_weight", "backbone_bias", "head_weight", "head_bias"), 1.0)
    moved = []
    for clip in (None, 1e-3, 1e3):
        module = segmentation(tiny(), gradient_clip=clip, multipliers=multipliers, lr=1.0, **GRADIENT_ONLY)
        _, network = one_step(trainer, module, batches(), record)
        changes = [a - b for a, b in zip(network.parameters(), tiny().double().parameters(), strict=True)]
        moved.append(torch.cat([change.flatten() for change in changes]))
    free, clipped, loose = moved
    assert clipped.norm().item() == pytest.approx(1e-3, rel=1e-2)  # torch adds 1e-6 to the norm
    assert F.cosine_similarity(free, clipped, dim=0).item() == pytest.approx(1, abs=1e-9)
    assert torch.equal(free, loose)


def test_adam_takes_the_groups_too(tiny: Any, segmentation: Any, batches: Any, trainer: Any, record: Any) -> None:
    data = batches()
    make = data.make
    data.make = lambda epoch, number: make(0, 0)
    adam = partial(torch.optim.AdamW, betas=(0.9, 0.999))
    trainer(3, [record]).fit(segmentation(tiny(), optimizer=adam, lr=1e-3), data)
    assert record.steps[0]["train/lr/head_weight"] == pytest.approx(1e-2)
    assert record("train/loss")[-1] < record("train/loss")[0]
