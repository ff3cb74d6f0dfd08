"""Near-boundary scores of a run: their part of `metrics.json`, and their plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.metrics.boundary import WIDTHS, BoundaryTally, boundary_iou
from deeplab.metrics.scores import mean_accuracy, mean_iou, pixel_accuracy
from deeplab.reporting.writing import replacing

PLOT = "boundary.png"
BANDS = {"trimap": "trimap (void outlines)", "class_edges": "band around class edges"}
_MEASURES = {"miou": mean_iou, "pixel_accuracy": pixel_accuracy, "mean_accuracy": mean_accuracy}


def boundary_document(before: BoundaryTally, after: BoundaryTally | None, class_names: Sequence[str]) -> dict[str, Any]:
    """Return the keys that `metrics.json` gets: bands of each width, and Boundary IoU.

    `trimap`, where void outlines objects, else `class_edges`: `width` in pixels, `miou`, `pixel_accuracy` and
    `mean_accuracy` a width, each also with `_crf`. `boundary_miou` and, by class name, `boundary_iou`, likewise. As
    fractions of 1; null where nothing can be measured, and for everything after a CRF that did not run.
    """
    tallies = {"": before, "_crf": after}
    bands: dict[str, Any] = {"width": list(WIDTHS)}
    for key, measure in _MEASURES.items():
        for suffix, tally in tallies.items():
            bands[key + suffix] = None if tally is None else [_number(value) for value in measure(tally.bands)]
    document: dict[str, Any] = {"trimap" if before.void_outlines else "class_edges": bands}
    for suffix, tally in tallies.items():
        each = None if tally is None else boundary_iou(tally.outlines)
        document[f"boundary_miou{suffix}"] = None if each is None else _mean(each)
        document[f"boundary_iou{suffix}"] = (
            None if each is None else dict(zip(class_names, map(_number, each), strict=True))
        )
    return document


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _mean(values: Any) -> float | None:
    measured = values[np.isfinite(values)]
    return float(measured.mean()) if len(measured) else None


def write_boundary_plot(path: Path, document: Mapping[str, Any], title: str) -> None:
    """Draw mIoU and pixel accuracy over the band's width, before and after the CRF (the paper's figure 10).

    Raises InputError if it cannot be written.
    """
    from matplotlib.figure import Figure

    name = "trimap" if "trimap" in document else "class_edges"
    bands = document[name]
    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title, fontsize=11)
    for ax, (key, label) in zip(
        figure.subplots(1, 2), {"miou": "mean IoU (%)", "pixel_accuracy": "pixel accuracy (%)"}.items(), strict=True
    ):
        for suffix, text, style in (("", "before the CRF", "--"), ("_crf", "after the CRF", "-")):
            if bands[key + suffix] is not None:
                values = [np.nan if value is None else 100 * value for value in bands[key + suffix]]
                ax.plot(bands["width"], values, style, label=text)
        ax.set_xlabel(f"{BANDS[name]}: width in pixels")
        ax.set_ylabel(label)
        ax.grid(alpha=0.3)
        ax.legend()
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=110)
