import numpy as np
import pytest
import torch

from deeplab.metrics.confusion import ConfusionMatrix, confusion


def counted_one_by_one(prediction, label, num_classes):
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    for p, t in zip(np.ravel(prediction), np.ravel(label), strict=True):
        if t != 255:
            matrix[t, p] += 1
    return matrix


def pictures(num_classes, shape=(23, 31), void=0.2, seed=0):
    rng = np.random.default_rng([num_classes, seed])
    prediction = rng.integers(0, num_classes, shape)
    label = rng.integers(0, min(num_classes, 255), shape)
    label[rng.random(shape) < void] = 255
    return prediction, label


@pytest.mark.parametrize("num_classes", [1, 2, 21, 150, 254, 255, 256])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_equals_counting_one_by_one(num_classes, dtype):
    prediction, label = pictures(num_classes)
    expected = counted_one_by_one(prediction, label, num_classes)
    got = confusion(torch.from_numpy(prediction).to(dtype), torch.from_numpy(label).to(dtype), num_classes)
    assert got.dtype == torch.int64
    np.testing.assert_array_equal(got.numpy(), expected)


def test_the_types_of_prediction_and_label_may_differ():
    prediction, label = pictures(21)
    got = confusion(torch.from_numpy(prediction).to(torch.int16), torch.from_numpy(label).to(torch.uint8), 21)
    np.testing.assert_array_equal(got.numpy(), counted_one_by_one(prediction, label, 21))


def test_rows_are_truth():
    matrix = confusion(torch.tensor([1, 1, 0]), torch.tensor([0, 1, 0]), 2)
    assert matrix.tolist() == [[1, 1], [0, 1]]


def test_what_is_predicted_in_the_void_does_not_matter():
    prediction = torch.tensor([0, 200, 255], dtype=torch.uint8)
    label = torch.tensor([0, 255, 255], dtype=torch.uint8)
    assert confusion(prediction, label, 2).tolist() == [[1, 0], [0, 0]]


def test_nothing_but_void_and_no_pixel_at_all():
    void = torch.full((4, 4), 255, dtype=torch.uint8)
    assert confusion(torch.zeros_like(void), void, 3).sum() == 0
    assert confusion(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), 3).sum() == 0


@pytest.mark.parametrize(
    ("prediction", "label", "dtype", "message"),
    [
        ([0, 0], [0, 21], torch.uint8, "label holds the value 21 at 1 pixels"),
        ([0, 0], [254, 254], torch.uint8, "label holds the value 254 at 2 pixels"),
        ([0, 30], [0, 1], torch.uint8, "prediction holds the value 30"),
        ([0, 255], [0, 1], torch.uint8, "prediction holds the value 255"),
        ([0, 0], [0, -1], torch.int64, "label holds the value -1"),
        ([0, 0], [0, 256], torch.int64, "label holds the value 256"),
        ([-100, 0], [0, 1], torch.int32, "prediction holds the value -100"),
        ([0, 0], [0, 277], torch.int16, "label holds the value 277"),
    ],
)
def test_values_out_of_range_are_named(prediction, label, dtype, message):
    with pytest.raises(ValueError, match=message):
        confusion(torch.tensor(prediction, dtype=dtype), torch.tensor(label, dtype=dtype), 21)


def test_shapes_and_types_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        confusion(torch.zeros(2, 3, dtype=torch.uint8), torch.zeros(3, 2, dtype=torch.uint8), 2)
    with pytest.raises(ValueError, match="prediction must hold integers"):
        confusion(torch.zeros(3), torch.zeros(3, dtype=torch.uint8), 2)
    for num_classes in (0, 257):
        with pytest.raises(ValueError, match=f"num_classes={num_classes}"):
            ConfusionMatrix(num_classes)


def test_the_metric_sums_over_updates_and_resets():
    metric = ConfusionMatrix(21)
    expected = np.zeros((21, 21), dtype=np.int64)
    for seed in range(3):
        prediction, label = pictures(21, (7, 9), seed=seed)
        metric.update(torch.from_numpy(prediction), torch.from_numpy(label))
        alone = counted_one_by_one(prediction, label, 21)
        np.testing.assert_array_equal(metric.latest.numpy(), alone)
        expected += alone
        np.testing.assert_array_equal(metric.compute().numpy(), expected)
    metric.reset()
    assert metric.matrix.sum() == 0


def test_a_failed_update_counts_nothing():
    metric = ConfusionMatrix(2)
    with pytest.raises(ValueError, match="the value 7"):
        metric.update(torch.tensor([0, 1]), torch.tensor([0, 7]))
    assert metric.matrix.sum() == 0


def test_two_processes_merge_by_summing():
    """The other process's matrix arrives through torchmetrics' own gathering, which is replaced here."""
    parts = [pictures(21, seed=seed) for seed in range(2)]
    ranks = []
    for prediction, label in parts:
        metric = ConfusionMatrix(
            21,
            dist_sync_fn=lambda state, group=None: [rank.matrix for rank in ranks],
            distributed_available_fn=lambda: True,
        )
        metric.update(torch.from_numpy(prediction), torch.from_numpy(label))
        ranks.append(ConfusionMatrix(21))
        ranks[-1].matrix = metric.matrix.clone()
    expected = sum(counted_one_by_one(*part, 21) for part in parts)
    np.testing.assert_array_equal(metric.compute().numpy(), expected)
    # After compute() each process has its own part again, and goes on from there.
    np.testing.assert_array_equal(metric.matrix.numpy(), counted_one_by_one(*parts[1], 21))


def test_the_matrix_stays_integer_when_a_module_changes_precision():
    metric = ConfusionMatrix(3)
    module = torch.nn.Module()
    module.metric = metric
    module.half()
    metric.update(torch.tensor([0, 1]), torch.tensor([0, 2]))
    assert metric.compute().dtype == torch.int64


def test_counts_beyond_32_bits():
    metric = ConfusionMatrix(2)
    metric.matrix += torch.tensor([[2**40, 0], [0, 1]])
    metric.update(torch.tensor([0]), torch.tensor([0]))
    assert metric.compute()[0, 0] == 2**40 + 1
