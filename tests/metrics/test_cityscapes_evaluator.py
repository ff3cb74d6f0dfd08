"""Cityscapes' own evaluator and VOC's formula on random predictions with void and classes that are absent."""

import importlib
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from deeplab.data.cityscapes_labels import LABEL_IDS
from deeplab.metrics.confusion import ConfusionMatrix
from deeplab.metrics.scores import scores

NUM_CLASSES = 19
ABSENT = (3, 12)  # neither in the truth nor predicted


@pytest.fixture
def pictures():
    """Three pairs of labels (truth, prediction), 19 classes, with void and without the absent ones."""
    draw = np.random.default_rng(0)
    present = [each for each in range(NUM_CLASSES) if each not in ABSENT]
    pairs = []
    for _ in range(3):
        truth = draw.choice(present, (40, 60))
        prediction = np.where(draw.random(truth.shape) < 0.7, truth, draw.choice(present, truth.shape))
        truth[draw.random(truth.shape) < 0.15] = 255
        pairs.append((truth, prediction))
    return pairs


def ours(pairs, num_classes):
    matrix = ConfusionMatrix(num_classes)
    for truth, prediction in pairs:
        matrix.update(torch.from_numpy(prediction), torch.from_numpy(truth))
    return scores(matrix.compute())


def test_equals_the_evaluator_of_cityscapes(pictures, tmp_path, monkeypatch):
    pytest.importorskip("cityscapesscripts", reason="the extra `dev` has it")
    monkeypatch.setenv("CITYSCAPES_DATASET", str(tmp_path))
    monkeypatch.setenv("CITYSCAPES_EXPORT_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["evaluator"])
    evaluator = importlib.import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")

    ids = np.zeros(256, np.uint8)  # void is 0, "unlabeled"
    ids[: len(LABEL_IDS)] = LABEL_IDS
    predictions, truths = [], []
    for number, (truth, prediction) in enumerate(pictures):
        for kind, label, paths in (("gtFine_labelIds", truth, truths), ("pred", prediction, predictions)):
            paths.append(str(tmp_path / f"aachen_{number:06}_000019_{kind}.png"))
            Image.fromarray(ids[label]).save(paths[-1])
    monkeypatch.setattr(evaluator.args, "JSONOutput", False)
    monkeypatch.setattr(evaluator.args, "evalInstLevelScore", False)
    monkeypatch.setattr(evaluator.args, "quiet", True)
    result = evaluator.evaluateImgLists(predictions, truths, evaluator.args)

    got = ours(pictures, NUM_CLASSES)
    assert got["miou"] == pytest.approx(result["averageScoreClasses"], rel=1e-12)
    theirs = [result["classScores"][evaluator.id2label[int(each)].name] for each in LABEL_IDS]
    for number, (iou, expected) in enumerate(zip(got["iou"], theirs, strict=True)):
        assert (iou is None) == (number in ABSENT) == bool(np.isnan(expected))
        assert iou is None or iou == pytest.approx(expected, rel=1e-12)


def test_equals_the_formula_of_the_devkit(pictures):
    """VOCevalseg: one matrix over all pictures; 100 * diagonal / (row + column - diagonal)."""
    matrix = np.zeros((21, 21))
    for truth, prediction in pictures:
        inside = truth != 255
        matrix += np.bincount(21 * truth[inside] + prediction[inside], minlength=21 * 21).reshape(21, 21)
    with np.errstate(invalid="ignore"):
        iou = np.diag(matrix) / (matrix.sum(0) + matrix.sum(1) - np.diag(matrix))
    got = ours(pictures, 21)
    np.testing.assert_allclose([np.nan if each is None else each for each in got["iou"]], iou, rtol=1e-12)
    assert got["miou"] == pytest.approx(np.nanmean(iou), rel=1e-12)
    assert got["pixel_accuracy"] == pytest.approx(np.diag(matrix).sum() / matrix.sum(), rel=1e-12)
