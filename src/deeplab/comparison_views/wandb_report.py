"""The comparison as a report in Weights & Biases: a run set a variant, panels over what the runs logged there.

Built without a connection; only `publish` needs one, and an account.
"""

import json
import os
import warnings
from collections.abc import Iterator
from textwrap import shorten
from typing import Any

from deeplab.errors import InputError

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # wandb's own crash telemetry
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of pydantic, about wandb_workspaces' own code
    import wandb_workspaces.reports.v2 as wr

Plain = dict[str, Any]
STEP = "step"
CURVES = ("val/miou_crf", "val/miou", "train/loss")
MEDIA = ("val/pictures", "val/confusion_crf", "val/confusion")
BARS = {"final/miou_crf": "mIoU after the CRF", "final/miou": "mIoU before the CRF"}
MOST_CLASSES = 40  # bars in one panel
LONGEST_TITLE = 128  # letters, W&B's limit
# An entity must be given, for the report's constructor would ask the server for one.
NOT_KNOWN = "entity"


def build_report(document: Plain) -> wr.Report:
    """Return the report of a comparison; runs that were not logged to W&B are left out of its run sets.

    Raises InputError if no run was, or if they are in several projects.
    """
    logged = [run["wandb"] for run in document["runs"] if run["wandb"]]
    places = sorted({(run["entity"] or "", run["project"]) for run in logged})
    if not places:
        raise InputError("wandb=true: none of these runs was logged to Weights & Biases; train with logger=wandb.")
    if len(places) > 1:
        named = ", ".join("/".join(filter(None, place)) for place in places)
        raise InputError(f"wandb=true: the runs are in several projects ({named}); compare those of one.")
    (entity, project) = places[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        blocks = list(_blocks(document, _run_sets(document, entity, project)))
        title = shorten(document["headline"][0].partition(";")[0], LONGEST_TITLE, placeholder=" …")
        return wr.Report(project=project, entity=entity or NOT_KNOWN, title=title, blocks=blocks, width="fluid")


def report_json(report: wr.Report) -> Plain:
    """Return what W&B would be sent, as plain values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        document: Plain = json.loads(report._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))
    return document


def publish(report: wr.Report) -> str:
    """Upload the report and return its address; needs `wandb login`."""
    import wandb

    if report.entity == NOT_KNOWN:
        report.entity = wandb.Api().default_entity
    report.save()
    return str(report.url)


def _run_sets(document: Plain, entity: str, project: str) -> list[wr.Runset]:
    sets = []
    for variant in document["variants"]:
        ids = _ids(document, variant)
        if ids:
            listed = ", ".join(f"'{each}'" for each in ids)
            sets.append(
                wr.Runset(entity=entity, project=project, name=variant["name"], filters=f"Metric('ID') in [{listed}]")
            )
    return sets


def _ids(document: Plain, variant: Plain) -> list[str]:
    """What W&B calls the variant's counted runs that were logged there."""
    runs = [document["runs"][index]["wandb"] for index in variant["counted"]]
    return [run["id"] for run in runs if run]


def _blocks(document: Plain, run_sets: list[wr.Runset]) -> Iterator[Any]:
    for warning in document["warnings"]:
        yield wr.CalloutBlock(text=f"Careful: {warning}")
    yield from (wr.P(text=line) for line in document["headline"])
    yield from (wr.P(text=group["others"]) for group in document["groups"] if group["others"])
    absent = [each["name"] for each in document["variants"] if not _ids(document, each)]
    if absent:
        yield wr.P(text=f"Not logged to Weights & Biases, so in none of the panels: {', '.join(absent)}.")
    for group in document["groups"]:
        yield wr.H2(text=group["title"])
        sentences = [pair[key]["sentence"] for pair in group["pairs"] for key in ("after", "before") if pair[key]]
        sentences += [gain["sentence"] for gain in group["crf_gains"]]
        if sentences:
            yield wr.UnorderedList(items=sentences)
    yield wr.H2(text="Curves")
    yield wr.PanelGrid(runsets=run_sets, panels=[_curve(key) for key in CURVES])
    yield wr.H2(text="Scores, and IoU of each class")
    yield wr.PanelGrid(runsets=run_sets, panels=[*_scores(), *_classes(document)])
    yield wr.H2(text="Pictures")
    yield wr.PanelGrid(runsets=run_sets, panels=[wr.MediaBrowser(title=key, media_keys=[key]) for key in MEDIA])


def _curve(key: str) -> wr.LinePlot:
    return wr.LinePlot(title=key, x=STEP, y=[key], smoothing_show_original=True)


def _scores() -> list[wr.BarPlot]:
    return [wr.BarPlot(title=title, metrics=[wr.SummaryMetric(key)], orientation="h") for key, title in BARS.items()]


def _classes(document: Plain) -> Iterator[wr.BarPlot]:
    logged = {variant["group"] for variant in document["variants"] if _ids(document, variant)}
    shown = [group for number, group in enumerate(document["groups"]) if number in logged]
    for names in dict.fromkeys(tuple(group["class_names"]) for group in shown):
        for prefix, title in (("val/iou_crf", "after the CRF"), ("val/iou", "before the CRF")):
            metrics = [wr.SummaryMetric(f"{prefix}/{name}") for name in names[:MOST_CLASSES]]
            yield wr.BarPlot(title=f"IoU of each class {title}", metrics=metrics, orientation="v")
