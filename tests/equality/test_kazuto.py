"""Logits and losses equal those of kazuto1011/deeplab-pytorch, recorded by make_golden.py from the same weights."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from torch.utils.data import DataLoader

from deeplab.inference.probabilities import Inference
from deeplab.models import resnet
from deeplab.models.deeplab import DeepLab
from deeplab.models.heads import DirectASPP
from deeplab.models.image_input import ImageInput
from deeplab.models.layout import CAFFE_INPUT
from deeplab.models.multi_scale import MultiScale
from deeplab.models.weights import assign_weights
from deeplab.training.losses import nearest_labels
from deeplab.training.module import SegmentationModule
from deeplab.training.schedule import Poly
from equality.material import BATCH, BLOCKS, CLASSES, PICTURE, RATE, STEPS, batches, kazuto_state, picture

GOLDEN = Path(__file__).parent / "golden"
KAZUTO = {"align_corners": False, "sizes": "rounded_down", "native_logits": True}
NETWORKS = ["small", pytest.param("resnet101", marks=pytest.mark.slow)]


@pytest.fixture
def multi_scale(monkeypatch):
    """Our network of so many blocks with the weights that the repository's had, by their names there."""

    def make(name, **rules):
        monkeypatch.setitem(resnet.BLOCKS, 101, BLOCKS[name])
        shown = ImageInput(CAFFE_INPUT.channels, CAFFE_INPUT.scale, CAFFE_INPUT.mean, CAFFE_INPUT.std)
        network = MultiScale(DeepLab(shown, resnet.ResNet(101), DirectASPP, CLASSES), **rules)
        state = {key: torch.from_numpy(array) for key, array in kazuto_state(BLOCKS[name]).items()}
        report = assign_weights(state, network)
        assert report.layout == "kazuto1011" and report.random == report.skipped == ()
        return network.eval()

    return make


def golden(name):
    return np.load(GOLDEN / f"{name}.npz")


def difference(logits, expected):
    """Largest difference as a share of the logits' range."""
    return float(np.abs(logits.numpy() - expected).max() / np.ptp(expected))


@pytest.mark.parametrize("name", NETWORKS)
def test_logits(multi_scale, name):
    image = torch.from_numpy(picture(PICTURE)).permute(2, 0, 1)[None].float()
    expected = golden(name)
    with torch.no_grad():
        kazuto = multi_scale(name, **KAZUTO)(image)[0]
        authors = multi_scale(name)(image)[0]
    assert difference(kazuto, expected["kazuto"]) <= 1e-4
    assert difference(authors, expected["authors"]) <= 1e-4
    # The two ways are told apart by far more than that.
    assert difference(authors, expected["kazuto"]) > 1e-2


@pytest.mark.parametrize("change", [{"align_corners": True}, {"sizes": "corners"}])
def test_each_rule_matters(multi_scale, change):
    image = torch.from_numpy(picture(PICTURE)).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        logits = multi_scale("small", **(KAZUTO | change))(image)[0]
    assert difference(logits, golden("small")["kazuto"]) > 1e-3


@pytest.mark.slow
def test_the_rounding_of_the_sizes_and_the_loss_at_075(multi_scale):
    sizes = {}
    for rules in ({}, KAZUTO):
        network = multi_scale("small", **rules)
        with torch.no_grad():
            logits = network.scale_logits(torch.zeros(1, 3, 321, 321))
        sizes[bool(rules)] = {name: tensor.shape[-1] for name, tensor in logits.items()}
    assert sizes == {
        False: {"fused": 41, "x1": 41, "x075": 41, "x05": 21},
        True: {"fused": 41, "x1": 41, "x075": 31, "x05": 21},
    }


@pytest.mark.parametrize(("full", "small"), [(321, 41), (321, 31), (321, 21), (65, 9), (65, 7), (10, 10)])
def test_labels_shrink_as_pillow_shrinks_them(full, small):
    label = np.random.default_rng(0).integers(0, 256, (full, full + 8)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(label).resize((small + 1, small), Image.Resampling.NEAREST))
    got = nearest_labels(torch.from_numpy(label)[None], (small, small + 1))
    np.testing.assert_array_equal(got[0].numpy(), expected)


class Losses(pl.Callback):
    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, module, *_):
        self.values.append(float(module.row["train/loss"]))


# ResNet-101 takes two minutes and a half on one core: too long for every run of the tests.
@pytest.mark.parametrize(
    "name", [pytest.param("small", marks=pytest.mark.slow), pytest.param("resnet101", marks=pytest.mark.soak)]
)
def test_twenty_steps(multi_scale, name):
    samples = [
        {
            "id": f"{step}-{n}",
            "image": torch.from_numpy(image).permute(2, 0, 1).float(),
            "label": torch.from_numpy(label),
        }
        for step, (pictures, labels) in enumerate(batches(BATCH[name]))
        for n, (image, label) in enumerate(zip(pictures, labels, strict=True))
    ]
    module = SegmentationModule(
        network=multi_scale(name, **KAZUTO),
        inference=Inference(),
        class_names=[str(each) for each in range(CLASSES)],
        optimizer=partial(torch.optim.SGD, momentum=0.9),
        schedule=Poly(STEPS, every=10),
        lr=RATE,
        weight_decay=5e-4,
        multipliers={"backbone_weight": 1.0, "backbone_bias": 2.0, "head_weight": 10.0, "head_bias": 20.0},
        global_batch_size=BATCH[name],
        loss_group=BATCH[name] // 2,
        batch_size_per_device=BATCH[name] // 2,
        freeze_bn=True,
        gradient_clip=None,
        max_probability_pixels=10**6,
        record={},
        label_shrinking="nearest",
    )
    losses = Losses()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=STEPS, callbacks=[losses], log_every_n_steps=1, limit_val_batches=0, **quiet
    )
    trainer.fit(module, DataLoader(samples, batch_size=BATCH[name]))
    expected = golden(name)["losses"]
    print(f"{name}: losses differ by {np.abs(losses.values / expected - 1).max():.2g} at most")
    assert len(losses.values) == STEPS and np.ptp(expected) > 0.05 * expected.mean()
    np.testing.assert_allclose(losses.values, expected, rtol=1e-3)
