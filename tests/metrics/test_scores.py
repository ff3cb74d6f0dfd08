import numpy as np
import pytest
import torch

from deeplab.metrics.scores import class_iou, mean_accuracy, mean_iou, pixel_accuracy, scores


def by_sets(prediction, label, num_classes):
    """IoU from sets of pixel positions, with no confusion matrix at all."""
    valid = {i for i, t in enumerate(label) if t != 255}
    ious, accuracies = [], []
    for k in range(num_classes):
        truth = {i for i in valid if label[i] == k}
        found = {i for i in valid if prediction[i] == k}
        ious.append(len(truth & found) / len(truth | found) if truth | found else None)
        if truth:
            accuracies.append(len(truth & found) / len(truth))
    measured = [iou for iou in ious if iou is not None]
    right = sum(prediction[i] == label[i] for i in valid)
    return {
        "iou": ious,
        "miou": sum(measured) / len(measured),
        "pixel_accuracy": right / len(valid),
        "mean_accuracy": sum(accuracies) / len(accuracies),
    }


def counted(prediction, label, num_classes):
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    for p, t in zip(prediction, label, strict=True):
        if t != 255:
            matrix[t, p] += 1
    return matrix


@pytest.mark.parametrize(
    ("in_truth", "in_prediction"),
    [
        (range(6), range(6)),
        ([0, 1, 2], [0, 1, 2]),  # 3, 4 and 5 absent from both: left out
        ([0, 1, 2], [0, 1, 5]),  # 2 never found, 5 found without being there: both count 0
        ([3], [3]),
    ],
)
def test_equals_sets_of_pixels_with_void_and_absent_classes(in_truth, in_prediction):
    rng = np.random.default_rng(0)
    label = rng.choice(list(in_truth), 400)
    prediction = np.where(rng.random(400) < 0.6, label, rng.choice(list(in_prediction), 400))
    prediction = np.where(np.isin(prediction, list(in_prediction)), prediction, in_prediction[0])
    label[rng.random(400) < 0.1] = 255
    expected = by_sets(prediction.tolist(), label.tolist(), 6)
    got = scores(counted(prediction, label, 6))
    assert got["iou"] == pytest.approx(expected["iou"])
    for key in ("miou", "pixel_accuracy", "mean_accuracy"):
        assert got[key] == pytest.approx(expected[key])


def test_worked_example():
    # Truth: 4 pixels of 0, 2 of 1, none of 2. One pixel of 0 is taken for 1, one of 1 for 2.
    got = scores(torch.tensor([[3, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    assert got["iou"] == [3 / 4, 1 / 3, 0.0, None]
    assert got["miou"] == pytest.approx((3 / 4 + 1 / 3 + 0) / 3)
    assert got["pixel_accuracy"] == pytest.approx(4 / 6)
    assert got["mean_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_nothing_was_counted():
    got = scores(np.zeros((3, 3), np.int64))
    assert got == {"miou": None, "iou": [None, None, None], "pixel_accuracy": None, "mean_accuracy": None}


def test_many_matrices_at_once():
    matrices = np.random.default_rng(0).integers(0, 50, (4, 2, 5, 5))
    matrices[1, 0, 3] = matrices[1, 0, :, 3] = 0
    for i, j in np.ndindex(4, 2):
        alone = scores(matrices[i, j])
        got = [None if np.isnan(value) else value for value in class_iou(matrices)[i, j]]
        assert got == pytest.approx(alone["iou"])
        assert mean_iou(matrices)[i, j] == pytest.approx(alone["miou"])
        assert pixel_accuracy(matrices)[i, j] == pytest.approx(alone["pixel_accuracy"])
        assert mean_accuracy(matrices)[i, j] == pytest.approx(alone["mean_accuracy"])


@pytest.mark.parametrize("matrix", [np.zeros((2, 3)), np.zeros(4), np.array([[1, -1], [0, 0]])])
def test_what_is_no_confusion_matrix_is_refused(matrix):
    with pytest.raises(ValueError, match="confusion matrix"):
        scores(matrix)
