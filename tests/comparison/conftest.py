"""Run folders as `deeplab train` leaves them, made without training: scenes, and predictions worn on purpose."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from deeplab.comparison.document import compare
from deeplab.comparison.run import read_runs
from deeplab.comparison.run_folders import find_runs
from deeplab.data.palette import voc_palette
from deeplab.data.samples import Sample
from deeplab.data.scene_drawing import CLASS_NAMES
from deeplab.data.scenes import Scenes
from deeplab.reporting.predictions import write_labels
from deeplab.reporting.run_files import metrics_document, write_json, write_per_picture

K = len(CLASS_NAMES)
HEIGHT, WIDTH = 40, 56
HEADS = {
    "ASPP-S": {"_target_": "deeplab.models.heads.ASPP", "rates": [2, 4, 8, 12]},
    "ASPP-L": {"_target_": "deeplab.models.heads.ASPP", "rates": [6, 12, 18, 24]},
    "LargeFOV": {"_target_": "deeplab.models.heads.LargeFOV", "rate": 12},
}
MakeRun = Callable[..., Path]


def configuration(head: str, seed: int, sizes: int, **changes: Any) -> dict[str, Any]:
    config: dict[str, Any] = {
        "name": "demo",
        "seed": seed,
        "model": {"head": HEADS[head], "backbone": {"_target_": "deeplab.models.resnet.ResNet"}, "multi_scale": []},
        "data": {
            "name": "scenes",
            "root": None,
            "palette": "voc",
            "layout": {
                "_target_": "deeplab.data.scenes.Scenes",
                "sizes": {"val": sizes, "test": sizes},
                "height": HEIGHT,
                "width": WIDTH,
            },
            "train_split": "train",
            "val_split": "val",
        },
        "optim": {"lr": 0.01, "max_steps": 60},
        "crf": {"backend": "auto", "bilateral_weight": 4, "bilateral_xy_std": 30, "bilateral_rgb_std": 13}
        | {"gaussian_weight": 3, "gaussian_xy_std": 1},
    }
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        (config[section] if section else config)[name] = value
    return config


def worn(label: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    """A prediction: blocks of the truth, of which some are taken for another class."""
    block = 8
    shape = (label.shape[0] // block, label.shape[1] // block)
    wrong = np.kron(rng.random(shape) > quality, np.ones((block, block), bool))
    other = np.kron(rng.integers(0, K, shape), np.ones((block, block), np.uint8))
    return np.where(wrong, other, np.where(label == 255, 0, label)).astype(np.uint8)


def matrix(prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    valid = label != 255
    return np.bincount(label[valid].astype(int) * K + prediction[valid], minlength=K * K).reshape(K, K)


@cache
def samples(split: str, count: int, seed: int) -> list[Sample]:
    pictures = Scenes({split: count}, HEIGHT, WIDTH, seed).split(split)
    return [pictures[index] for index in range(count)]


def make_run(
    folder: Path,
    head: str = "ASPP-S",
    seed: int = 0,
    quality: float = 0.7,
    pictures: int = 12,
    crf: bool = True,
    split: str = "val",
    class_names: Sequence[str] = CLASS_NAMES,
    predictions: bool = True,
    paper: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    config = configuration(head, seed, pictures, **changes)
    config["data"]["class_names"] = list(class_names)
    before, after, ids = [], [], []
    rng = np.random.default_rng([seed, *head.encode()])
    for sample in samples(split, pictures, config["data"]["layout"].get("seed", 0)):
        label = sample["label"]
        first = worn(label, quality, rng)
        second = np.where(rng.random(label.shape) < 0.3, np.where(label == 255, 0, label), first).astype(np.uint8)
        ids.append(sample["id"])
        before.append(matrix(first, label))
        after.append(matrix(second, label))
        if predictions:
            write_labels(folder / "predictions" / f"{sample['id']}.png", first, voc_palette())
            if crf:
                write_labels(folder / "predictions_crf" / f"{sample['id']}.png", second, voc_palette())
    bands = {"width": [1, 2, 3], "miou": [0.2, 0.3, 0.4], "miou_crf": [0.3, 0.4, 0.5] if crf else None}
    document = metrics_document(
        np.sum(before, axis=0),
        np.sum(after, axis=0) if crf else None,
        class_names=class_names,
        num_images=pictures,
        num_skipped=0,
        num_crf_skipped=0,
        config=config,
        seconds=2.0,
        paper=paper,
        boundary={"class_edges": bands, "boundary_miou": 0.3, "boundary_miou_crf": 0.35 if crf else None},
        split=split,
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "metrics.json", document)
    write_per_picture(folder / "per_picture.npz", ids, before, after if crf else None)
    record = {"state": "finished", "started": f"2026-01-01T00:00:{seed:02}+0000", "seed": seed, "name": "demo"}
    record |= {"steps": 60, "seconds": 120.0 + seed, "images_per_second": 5.5, "peak_memory": 2 * 10**9}
    write_json(folder / "run.json", record | {"device": "a test (2 cores)"})
    steps = [f"{step},{1 / step:.4f},{quality * step / 60:.4f},{quality * step / 50:.4f}" for step in range(10, 61, 10)]
    (folder / "metrics.csv").write_text("\n".join(["step,train/loss,val/miou,val/miou_crf", *steps, ""]))
    (folder / ".hydra").mkdir(exist_ok=True)
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture
def run_in(tmp_path: Path) -> MakeRun:
    """Makes a run in a folder of the test's own, by its name."""
    return lambda name, **options: make_run(tmp_path / name, **options)


@pytest.fixture
def document_of() -> Callable[..., dict[str, Any]]:
    """document_of(path, ...): what `deeplab compare` makes of the runs there, valid as JSON."""

    def made(*paths: Path, repeats: int = 200) -> dict[str, Any]:
        document, _ = compare(read_runs(find_runs(paths)), repeats, seed=0)
        json.dumps(document, allow_nan=False)
        return document

    return made


@pytest.fixture
def edit() -> Callable[..., None]:
    """edit(path, key=value, ...) changes a JSON file."""

    def changed(path: Path, **changes: Any) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return changed
