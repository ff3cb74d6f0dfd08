"""`logger=tensorboard`: the same names and values as metrics.csv, pictures, confusion, and the result."""

import csv
from pathlib import Path
from typing import Any

import pytest

from deeplab.crf.params import CRFParams
from deeplab.training.crf_evaluation import CRFEvaluation
from deeplab.training.media_logging import LONGEST_SIDE, ValidationMedia, closing
from deeplab.training.run_metrics import RunMetrics

NAMES = ["ground", "ball", "crate", "ring"]
RESULT = {"miou": 0.5, "miou_crf": None, "trimap": {"width": [1, 2], "miou": [0.25, None], "miou_crf": None}}


def test_what_it_writes(
    segmentation: Any, tiny: Any, batches: Any, trainer: Any, pictures: Any, loader: Any, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from deeplab.training.tensorboard_logging import tensorboard_logger

    config = {"data": {"class_names": NAMES, "palette": "voc"}}
    loggers = [RunMetrics(tmp_path), tensorboard_logger(tmp_path, config, num_pictures=1)]
    with closing(loggers) as shown:
        media = ValidationMedia(shown, NAMES)
        crf = CRFEvaluation(CRFParams(iterations=1), "exact", NAMES, workers=1, on_refined=media.add_refined)
        options = {"val_check_interval": 2, "check_val_every_n_epoch": None, "logger": loggers}
        trainer(2, [crf, media], **options).fit(segmentation(tiny()), batches(), loader(pictures[:2]))
        for each in shown:
            each.show_result(RESULT, tmp_path)

    found = EventAccumulator(str(tmp_path / "tensorboard"), {"images": 0, "scalars": 0})
    found.Reload()
    with (tmp_path / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for key, value in row.items():
                if value and key != "step":
                    at = {event.step: event.value for event in found.Scalars(key)}
                    assert at[int(row["step"])] == pytest.approx(float(value), nan_ok=True)
    assert set(found.Tags()["images"]) == {"val/pictures/picture_0", "val/confusion", "val/confusion_crf"}
    assert [event.step for event in found.Images("val/pictures/picture_0")] == [2]
    assert [(event.step, event.value) for event in found.Scalars("final/miou")] == [(2, 0.5)]
    assert [(event.step, event.value) for event in found.Scalars("final/trimap/miou")] == [(1, 0.25)]
    assert media._pictures["picture_0"].refined is not None
    assert max(media._pictures["picture_0"].image.shape) <= LONGEST_SIDE
