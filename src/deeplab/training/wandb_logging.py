"""Weights & Biases: offline unless the user is logged in, never a prompt, never the end of a run; imported late."""

import logging
import netrc
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only

from deeplab.errors import InputError
from deeplab.metrics.scores import class_iou
from deeplab.reporting.run_files import CHECKPOINTS, METRICS, PER_PICTURE, RUN, read_json
from deeplab.training.media_logging import Matrix, MediaLogger, ShownPicture
from deeplab.training.wandb_tags import automatic_tags

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # wandb's own crash telemetry, also sent by offline runs
os.environ.setdefault("WANDB_SILENT", "true")
log = logging.getLogger(__name__)

ARTIFACTS = ("checkpoints", "report")
AXIS = "step"
LOWEST = ("train/loss",)
HIGHEST = ("val/miou", "val/miou_crf", "val/pixel_accuracy", "val/pixel_accuracy_crf", "val/iou/*", "val/iou_crf/*")


def logged_in() -> bool:
    """Whether an API key is at hand, in WANDB_API_KEY or in the netrc file that `wandb login` writes."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return path.is_file() and netrc.netrc(str(path)).authenticators(host) is not None
    except (netrc.NetrcParseError, OSError):
        return False


class WandbRun(MediaLogger):
    """One run: the rows of metrics.csv under the same names, pictures with masks, tables, and the result.

    What wandb cannot do, it does not do: after a failure it is told once, and the training goes on without it. A run
    that cannot begin online begins offline.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        offline: bool,
        num_pictures: int,
        artifacts: Sequence[str],
        finish_timeout: float,
        **options: Any,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.config = config
        self.offline = offline
        self.num_pictures = num_pictures
        self.artifacts = list(artifacts)
        self.finish_timeout = finish_timeout
        self.options = options
        self._run: Any = None
        self._over = False

    @property
    def name(self) -> str:
        return str(self.options.get("project"))

    @property
    def version(self) -> str | None:
        return None if self._run is None else str(self._run.id)

    @property
    def save_dir(self) -> str:
        return str(self.folder)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """wandb's run, begun when it is first asked for; None after a failure."""
        if self._run is None and not self._over:
            self._guard(self._begin)
        return self._run

    def _begin(self) -> None:
        import wandb

        try:
            self._run = self._init("offline" if self.offline else "online")
        except (wandb.errors.Error, OSError) as error:
            if self.offline:
                raise
            log.warning("Weights & Biases cannot be reached (%s); this run is kept offline", _first_line(error))
            self._run = self._init("offline")
        self._run.define_metric(AXIS, hidden=True)
        self._run.define_metric("*", step_metric=AXIS, step_sync=True)
        for names, best in ((LOWEST, "min"), (HIGHEST, "max")):
            for each in names:
                self._run.define_metric(each, step_metric=AXIS, summary="last" if "*" in each else f"last,{best}")

    def _init(self, mode: str) -> Any:
        import wandb

        facts = read_json(self.folder / RUN) if (self.folder / RUN).is_file() else {}
        options = dict(self.options)
        options["tags"] = automatic_tags(facts) if options.get("tags") is None else options["tags"]
        options["group"] = options.get("group") or facts.get("sweep")
        # A run of its own, also where another of this process was not ended.
        settings = wandb.Settings(finish_timeout=self.finish_timeout, init_timeout=_init_timeout(), reinit="create_new")
        self.folder.mkdir(parents=True, exist_ok=True)
        return wandb.init(dir=str(self.folder), config=self.config, mode=mode, settings=settings, **options)  # type: ignore[arg-type]

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            # Whatever it is: wandb's own errors, those of its process, which may be gone, of the network, of the disk.
            self._over, self._run = True, None
            log.warning(
                "Weights & Biases failed (%s: %s); the run goes on without it, and metrics.csv has all values",
                type(error).__name__,
                _first_line(error),
            )

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        assert step is not None
        # Lightning names a step by the number of steps before it.
        self._log({AXIS: step + 1, **metrics})

    def _log(self, row: dict[str, Any]) -> None:
        if self.experiment is not None:
            self._guard(lambda: self._run.log(row))

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run is begun with the whole configuration."""

    def show_pictures(self, step: int, pictures: Sequence[ShownPicture], class_names: Sequence[str]) -> None:
        self._guard(lambda: self._log({AXIS: step, "val/pictures": [_overlay(each, class_names) for each in pictures]}))

    def show_classes(self, step: int, class_names: Sequence[str], matrices: Mapping[str, Matrix]) -> None:
        def show() -> None:
            row: dict[str, Any] = {AXIS: step, "val/classes": _class_table(class_names, matrices)}
            for suffix, matrix in matrices.items():
                row[f"val/confusion{suffix}"] = _confusion_chart(class_names, matrix, suffix)
            self._log(row)

        self._guard(show)

    def show_result(self, document: Mapping[str, Any], folder: Path) -> None:
        def show() -> None:
            if self.experiment is None:
                return
            numbers = {key: value for key, value in document.items() if isinstance(value, int | float)}
            self._run.summary.update({f"final/{key}": value for key, value in numbers.items()})
            for name in ("trimap", "class_edges"):
                if name in document:
                    self._run.log({f"final/{name}": _curve(name, document[name])})
            for kind in self.artifacts:
                self._run.log_artifact(_artifact(kind, folder, self._run.id))

        self._guard(show)

    @rank_zero_only
    def close(self, failed: bool) -> None:
        run, self._run, self._over = self._run, None, True
        if run is not None:
            self._guard(lambda: run.finish(exit_code=int(failed)))


def wandb_logger(
    folder: Path,
    config: dict[str, Any],
    project: str = "deeplab",
    name: str | None = None,
    group: str | None = None,
    tags: list[str] | None = None,
    entity: str | None = None,
    num_pictures: int = 8,
    artifacts: list[str] | None = None,
    finish_timeout: float = 600.0,
) -> WandbRun:
    """A logger that stores its files under `folder`/wandb; `WANDB_MODE` beats the choice made here.

    Args:
        group: null takes the sweep's folder, if the run is a job of one.
        tags: null takes the choices and values that the run was started with.
        num_pictures: validation pictures, from the first, shown with their masks.
        artifacts: what is uploaded at the end: `checkpoints`, `report` (metrics.json, per_picture.npz, pictures).
        finish_timeout: seconds after which an upload at the end is left to `wandb sync`.

    Raises InputError for another kind of artifact.
    """
    for each in artifacts or []:
        if each not in ARTIFACTS:
            raise InputError(f"logger.artifacts: there is nothing called {each}; choose from {', '.join(ARTIFACTS)}.")
    mode = os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline")
    options = {"project": project, "name": name, "group": group, "tags": tags, "entity": entity}
    return WandbRun(folder, config, mode != "online", num_pictures, artifacts or [], finish_timeout, **options)


def _init_timeout() -> float:
    return float(os.environ.get("WANDB_INIT_TIMEOUT", "60"))


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _overlay(picture: ShownPicture, class_names: Sequence[str]) -> Any:
    import wandb

    labels = {**dict(enumerate(class_names)), 255: "void"}
    layers = {"truth": picture.truth, "prediction": picture.prediction, "after the CRF": picture.refined}
    masks = {name: {"mask_data": mask, "class_labels": labels} for name, mask in layers.items() if mask is not None}
    return wandb.Image(picture.image, masks=masks, caption=picture.id)  # type: ignore[arg-type]


def _class_table(class_names: Sequence[str], matrices: Mapping[str, Matrix]) -> Any:
    import wandb

    columns = {f"IoU{' after the CRF' if suffix else ''}": class_iou(matrix) for suffix, matrix in matrices.items()}
    rows = [
        [name, *(float(each[i]) if np.isfinite(each[i]) else None for each in columns.values())]
        for i, name in enumerate(class_names)
    ]
    return wandb.Table(columns=["class", *columns], data=rows)


def _confusion_chart(class_names: Sequence[str], matrix: Matrix, suffix: str) -> Any:
    import wandb

    cells = [
        [truth, found, int(matrix[i, j])] for i, truth in enumerate(class_names) for j, found in enumerate(class_names)
    ]
    fields = {name: name for name in ("Actual", "Predicted", "nPredictions")}
    return wandb.plot_table(
        vega_spec_name="wandb/confusion_matrix/v1",
        data_table=wandb.Table(columns=list(fields), data=cells),
        fields=fields,
        string_fields={"title": f"Pixels{' after the CRF' if suffix else ''}"},
    )


def _curve(name: str, bands: Mapping[str, Any]) -> Any:
    import wandb

    lines = {"before the CRF": bands["miou"], "after the CRF": bands["miou_crf"]}
    shown = {key: values for key, values in lines.items() if values is not None}
    title = f"mIoU by the width of the band ({name.replace('_', ' ')})"
    return wandb.plot.line_series(
        xs=bands["width"], ys=list(shown.values()), keys=list(shown), title=title, xname="width in pixels"
    )


def _artifact(kind: str, folder: Path, run_id: str) -> Any:
    import wandb

    artifact = wandb.Artifact(f"{kind}-{run_id}", type={"checkpoints": "model", "report": "report"}[kind])
    if kind == "checkpoints":
        paths = sorted((folder / CHECKPOINTS).glob("*.ckpt"))
    else:
        paths = [folder / METRICS, folder / PER_PICTURE, folder / "metrics.csv", *sorted(folder.glob("*.png"))]
        paths += sorted((folder / "pictures").glob("*.png"))
    for path in paths:
        if path.is_file():
            artifact.add_file(str(path), name=path.relative_to(folder).as_posix(), policy="immutable")
    return artifact
