"""TensorBoard: the same values under the same names, and the same pictures, in `tensorboard/` of the run's folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from deeplab.data.palette import class_palette
from deeplab.errors import InputError
from deeplab.reporting.sheets import Row, sheet
from deeplab.training.media_logging import Matrix, MediaLogger, ShownPicture

TITLES = ("image", "truth", "prediction", "after the CRF")


class TensorBoardRun(TensorBoardLogger, MediaLogger):
    """Writes event files; steps are optimizer steps done, as in metrics.csv."""

    def __init__(self, folder: Path, config: Mapping[str, Any], num_pictures: int) -> None:
        super().__init__(save_dir=str(folder), name="tensorboard", version="")
        self.config = config
        self.num_pictures = num_pictures
        data = config["data"]
        self._palette = class_palette(data["palette"], len(data["class_names"]))
        self._last_step = 0

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        assert step is not None
        # Lightning names a step by the number of steps before it.
        self._last_step = step + 1
        super().log_metrics(dict(metrics), self._last_step)

    def show_pictures(self, step: int, pictures: Sequence[ShownPicture], class_names: Sequence[str]) -> None:
        for each in pictures:
            layers = [each.truth, each.prediction, *([] if each.refined is None else [each.refined])]
            drawn = sheet([Row(each.image, layers, each.id)], class_names, TITLES[: 1 + len(layers)], self._palette)
            self.experiment.add_image(f"val/pictures/{each.id}", np.asarray(drawn), step, dataformats="HWC")

    def show_classes(self, step: int, class_names: Sequence[str], matrices: Mapping[str, Matrix]) -> None:
        for suffix, matrix in matrices.items():
            self.experiment.add_figure(f"val/confusion{suffix}", _confusion_figure(class_names, matrix), step)

    def show_result(self, document: Mapping[str, Any], folder: Path) -> None:
        for key, value in document.items():
            if isinstance(value, int | float):
                self.experiment.add_scalar(f"final/{key}", value, self._last_step)
        for name in ("trimap", "class_edges"):
            bands = document.get(name, {})
            for key in ("miou", "miou_crf"):
                for width, value in zip(bands.get("width", []), bands.get(key) or [], strict=False):
                    if value is not None:
                        self.experiment.add_scalar(f"final/{name}/{key}", value, width)  # over pixels, not steps

    @rank_zero_only
    def close(self, failed: bool) -> None:
        self.experiment.close()


def tensorboard_logger(folder: Path, config: dict[str, Any], num_pictures: int = 8) -> TensorBoardRun:
    """A logger that writes into `folder`/tensorboard; the first `num_pictures` validation pictures are shown.

    Raises InputError if TensorBoard is not installed.
    """
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise InputError(
            "logger=tensorboard needs the package tensorboard; run pip install -c constraints.txt '.[tensorboard]'."
        ) from error
    return TensorBoardRun(folder, config, num_pictures)


def _confusion_figure(class_names: Sequence[str], matrix: Matrix) -> Any:
    from matplotlib.figure import Figure

    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    side = 3 + 0.3 * len(class_names)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    figure.colorbar(axes.imshow(shares, vmin=0, vmax=1, cmap="Blues"), label="share of the class's pixels")
    axes.set_xticks(range(len(class_names)), class_names, rotation=90)
    axes.set_yticks(range(len(class_names)), class_names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    return figure
