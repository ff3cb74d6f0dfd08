"""The CRF-evaluation callback against the CRF called directly on the same probabilities."""

import csv
import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from deeplab.crf.dense_crf import DenseCRF
from deeplab.crf.params import CRFParams
from deeplab.crf.workers import CRFWorkerError
from deeplab.training.crf_evaluation import CRFEvaluation

NAMES = ["ground", "ball", "crate", "ring"]
PARAMS = CRFParams(iterations=2, bilateral_rgb_std=30, bilateral_xy_std=10)


def callback(**options: Any) -> CRFEvaluation:
    return CRFEvaluation(PARAMS, "exact", NAMES, workers=1, **options)


def refined(module: Any, picture: Any) -> np.ndarray:
    probs = module.inference.probabilities(module.network.eval(), picture["image"]).numpy()
    return DenseCRF(PARAMS, "exact")(probs, picture["image"].numpy()).argmax(axis=0)


def predicted(module: Any, picture: Any) -> np.ndarray:
    return module.inference.probabilities(module.network.eval(), picture["image"]).numpy().argmax(axis=0)


def intersection_over_union(pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    """Of each class, over (prediction, truth) pairs, counted pixel by pixel; -1 for a class that is nowhere."""
    prediction = np.concatenate([prediction[truth != 255] for prediction, truth in pairs])
    truth = np.concatenate([truth[truth != 255] for _, truth in pairs])
    ious = []
    for k in range(len(NAMES)):
        union = np.sum((prediction == k) | (truth == k))
        ious.append(float(np.sum((prediction == k) & (truth == k)) / union) if union else -1.0)
    return ious


@pytest.fixture
def validate(segmentation: Any, colour_network: Any, trainer: Any, pictures: Any, loader: Any) -> Any:
    def run(crf: CRFEvaluation, *others: pl.Callback) -> tuple[Any, dict[str, float]]:
        module = segmentation(colour_network())
        [metrics] = trainer(1, [crf, *others]).validate(module, loader(pictures), verbose=False)
        return module, metrics

    return run


def test_scores_are_those_of_a_direct_computation(validate: Any, pictures: Any) -> None:
    module, metrics = validate(callback())
    truths = [picture["label"].numpy() for picture in pictures]
    for suffix, labels_of in (("", predicted), ("_crf", refined)):
        pairs = [(labels_of(module, p), truth) for p, truth in zip(pictures, truths, strict=True)]
        ious = intersection_over_union(pairs)
        assert metrics[f"val/miou{suffix}"] == pytest.approx(np.mean([v for v in ious if v >= 0]), rel=1e-6)
        logged = [metrics.get(f"val/iou{suffix}/{name}", -1.0) for name in NAMES]
        assert logged == pytest.approx(ious, rel=1e-6)
        right = sum(int((a == b).sum()) for a, b in pairs) / sum(int((truth != 255).sum()) for truth in truths)
        assert metrics[f"val/pixel_accuracy{suffix}"] == pytest.approx(right, rel=1e-6)
    assert metrics["val/miou_crf"] > metrics["val/miou"] + 0.01


def test_only_the_first_pictures(validate: Any, pictures: Any) -> None:
    module, metrics = validate(callback(first_n=2))
    ious = intersection_over_union([(refined(module, p), p["label"].numpy()) for p in pictures[:2]])
    assert metrics["val/miou_crf"] == pytest.approx(np.mean([v for v in ious if v >= 0]), rel=1e-6)
    ious = intersection_over_union([(predicted(module, p), p["label"].numpy()) for p in pictures])
    assert metrics["val/miou"] == pytest.approx(np.mean([v for v in ious if v >= 0]), rel=1e-6)


def test_large_pictures_keep_the_networks_labels_and_that_is_said_once(
    validate: Any, pictures: Any, caplog: pytest.LogCaptureFixture
) -> None:
    crf = callback(max_pixels=20 * 26 - 1)
    with caplog.at_level(logging.WARNING, "deeplab"):
        _, metrics = validate(crf)
    assert metrics["val/miou_crf"] == metrics["val/miou"]
    assert crf.num_skipped == len(pictures)
    assert [record.getMessage() for record in caplog.records] == [
        "picture_0, like other pictures of more than crf.max_pixels=519 pixels, is left as the network predicts it"
    ]
    _, metrics = validate(callback(max_pixels=20 * 26))
    assert metrics["val/miou_crf"] != metrics["val/miou"]


def test_pictures_too_large_for_probabilities_keep_their_labels(
    segmentation: Any, colour_network: Any, trainer: Any, pictures: Any, loader: Any
) -> None:
    module, crf = segmentation(colour_network(), max_probability_pixels=100), callback(max_pixels=100)
    [metrics] = trainer(1, [crf]).validate(module, loader(pictures), verbose=False)
    ious = intersection_over_union([(predicted(module, p), p["label"].numpy()) for p in pictures])
    assert metrics["val/miou"] == metrics["val/miou_crf"] == pytest.approx(np.mean(ious), rel=1e-6)


def test_nothing_labelled_has_no_score(
    segmentation: Any, colour_network: Any, trainer: Any, pictures: Any, loader: Any
) -> None:
    for picture in pictures:
        picture["label"].fill_(255)
    [metrics] = trainer(1, [callback()]).validate(segmentation(colour_network()), loader(pictures), verbose=False)
    assert {name for name in metrics if "iou" in name} == {"val/miou", "val/miou_crf"}
    assert all(np.isnan(value) for value in metrics.values())


def fit(crf: CRFEvaluation, folder: Path, parts: Any, steps: int = 8, resume: Any = None) -> pl.Trainer:
    segmentation, colour_network, batches, loader, pictures, trainer_in = parts
    trainer = trainer_in(folder, steps, [crf], val_check_interval=2, check_val_every_n_epoch=None)
    module = segmentation(colour_network(), lr=1e-6)
    trainer.fit(module, batches(), loader(pictures[:1]), ckpt_path=resume, weights_only=True)
    return trainer


@pytest.fixture
def parts(
    segmentation: Any, colour_network: Any, batches: Any, loader: Any, pictures: Any, trainer_in: Any
) -> tuple[Any, ...]:
    return segmentation, colour_network, batches, loader, pictures, trainer_in


def validated_steps(folder: Path, column: str) -> list[int]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row[column]]


def test_every_second_validation_also_after_a_resume(parts: Any, tmp_path: Path) -> None:
    fit(callback(every_n_validations=2), tmp_path / "a", parts)
    assert validated_steps(tmp_path / "a", "val/miou") == [2, 4, 6, 8]
    assert validated_steps(tmp_path / "a", "val/miou_crf") == [2, 6]
    checkpoint = tmp_path / "step_3.ckpt"
    fit(callback(every_n_validations=2), tmp_path / "b", parts, steps=3).save_checkpoint(checkpoint)
    fit(callback(every_n_validations=2), tmp_path / "b", parts, resume=checkpoint)
    assert validated_steps(tmp_path / "b", "val/miou_crf") == [2, 6]


class Processes(pl.Callback):
    """The CRF processes that live while the last picture is validated."""

    def __init__(self, crf: CRFEvaluation) -> None:
        self.crf, self.pids = crf, set[int]()

    def on_validation_batch_end(self, *_: Any) -> None:
        pool = self.crf._pool
        self.pids |= {worker._process.pid for worker in pool._workers} if pool is not None else set()


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_workers_start_when_they_are_needed_and_end_with_the_run(validate: Any) -> None:
    crf = callback()
    processes = Processes(crf)
    assert crf._pool is None
    validate(crf, processes)
    assert len(processes.pids) == 1
    assert not any(is_alive(pid) for pid in processes.pids)
    resting = callback(every_n_validations=2)
    resting.validations = 1
    processes = Processes(resting)
    _, metrics = validate(resting, processes)
    assert processes.pids == set()
    assert "val/miou_crf" not in metrics


def test_without_backend_there_is_no_callback() -> None:
    from deeplab.config.build import build_crf_evaluation

    assert build_crf_evaluation({"backend": "none"}, NAMES) is None


class Kill(pl.Callback):
    """Ends the CRF process after the second picture, as a system out of memory does."""

    def __init__(self, crf: CRFEvaluation) -> None:
        self.crf = crf

    def on_validation_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            self.crf._pool._workers[0]._process.kill()


def test_a_dead_worker_is_an_error_and_not_a_hang(validate: Any) -> None:
    crf, start = callback(), time.monotonic()
    with pytest.raises(CRFWorkerError, match="signal 9"):
        validate(crf, Kill(crf))
    assert time.monotonic() - start < 20
    assert crf._pool is None


def test_an_error_in_the_run_ends_the_workers(validate: Any) -> None:
    class Fail(pl.Callback):
        def on_validation_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 1:
                raise KeyError("stop")

    crf = callback()
    processes = Processes(crf)
    with pytest.raises(KeyError, match="stop"):
        validate(crf, processes, Fail())
    assert processes.pids
    assert not any(is_alive(pid) for pid in processes.pids)


def test_tests_hand_on_every_refined_picture_in_order(
    segmentation: Any, colour_network: Any, trainer: Any, pictures: Any, loader: Any
) -> None:
    got: list[tuple[str, np.ndarray, np.ndarray]] = []
    crf = callback(first_n=1, every_n_validations=3, on_refined=lambda *one: got.append(one))
    module = segmentation(colour_network())
    trainer(1, [crf]).test(module, loader(pictures), verbose=False)
    assert [name for name, _, _ in got] == [f"picture_{i}" for i in range(5)]
    for (_, labels, truth), picture in zip(got, pictures, strict=True):
        np.testing.assert_array_equal(labels, refined(module, picture))
        np.testing.assert_array_equal(truth, picture["label"].numpy())
    assert torch.equal(crf.confusion.compute().sum(), torch.tensor(5 * (20 * 26 - 6)))


class SlowPool:
    """A pool that refines one picture after the other, each only once the network has begun the next one."""

    def __init__(self, begun: list[threading.Event]) -> None:
        self.begun, self.executor = begun, ThreadPoolExecutor(1)
        self.submitted = 0

    def submit(self, probs: Any, image: Any) -> Future[Any]:
        self.submitted += 1
        return self.executor.submit(self._refine, probs, self.submitted)

    def _refine(self, probs: Any, following: int) -> Any:
        assert following == len(self.begun) or self.begun[following].wait(60), "the network waits for the CRF"
        return probs.argmax(axis=0)

    def close(self, cancel: bool = False) -> None:
        self.executor.shutdown()


def test_the_network_does_not_wait_for_the_crf(validate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = [threading.Event() for _ in range(5)]

    class Announcer(pl.Callback):
        def on_validation_batch_start(self, *arguments: Any) -> None:
            begun[arguments[3]].set()

    crf = callback()
    pool = SlowPool(begun)
    monkeypatch.setattr(crf, "_pool", pool)
    validate(crf, Announcer())
    assert pool.submitted == len(begun)
