"""What scoring a network leaves in the run's folder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deeplab.crf.params import CRFParams
from deeplab.training.crf_evaluation import CRFEvaluation
from deeplab.training.evaluation import EvaluationFiles

NAMES = ["ground", "ball", "crate", "ring"]
PALETTE = np.arange(768, dtype=np.uint32).astype(np.uint8).reshape(256, 3)


def indices(path: Path) -> Any:
    with Image.open(path) as image:
        assert image.mode == "P"
        return np.asarray(image)


def counted(prediction: Any, truth: Any) -> Any:
    matrix = np.zeros((4, 4), dtype=np.int64)
    for p, t in zip(prediction.ravel(), truth.ravel(), strict=True):
        if t != 255:
            matrix[t, p] += 1
    return matrix


@pytest.fixture
def score(segmentation: Any, colour_network: Any, trainer: Any, pictures: Any, loader: Any) -> Any:
    def run(files: EvaluationFiles) -> list[Any]:
        crf = CRFEvaluation(CRFParams(iterations=1), "exact", NAMES, workers=2, on_refined=files.add_refined)
        callbacks = [files, crf] if files.with_crf else [files]
        trainer(1, callbacks, logger=False).test(segmentation(colour_network()), loader(pictures), verbose=False)
        return [picture["label"].numpy() for picture in pictures]

    return run


def test_predictions_pictures_and_a_matrix_each(score: Any, tmp_path: Path) -> None:
    files = EvaluationFiles(tmp_path, NAMES, PALETTE, with_crf=True, num_pictures=2)
    truths = score(files)
    ids = [f"picture_{i}" for i in range(5)]
    assert list(files.confusion) == list(files.confusion_crf) == ids
    for name, truth in zip(ids, truths, strict=True):
        for folder, matrices in (("predictions", files.confusion), ("predictions_crf", files.confusion_crf)):
            prediction = indices(tmp_path / folder / f"{name}.png")
            np.testing.assert_array_equal(matrices[name], counted(prediction, truth))
    # The widest band holds more pixels than the first, and no more than the picture's known ones.
    known = sum(int((truth != 255).sum()) for truth in truths)
    assert 0 < files.boundary.bands[0].sum() < files.boundary.bands[-1].sum() <= known
    assert any((np.asarray(files.confusion[name]) != np.asarray(files.confusion_crf[name])).any() for name in ids)
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["picture_0.png", "picture_1.png"]
    assert not list(tmp_path.rglob("*.part"))


def test_without_crf_and_predictions(score: Any, tmp_path: Path) -> None:
    files = EvaluationFiles(tmp_path, NAMES, PALETTE, with_crf=False, save_predictions=False, num_pictures=1)
    score(files)
    assert len(files.confusion) == 5 and not files.confusion_crf
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")] == ["pictures/picture_0.png"]
