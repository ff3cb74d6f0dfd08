"""Tables for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

ABSENT = "–"
OVERALL = {
    "miou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "boundary_miou": "Boundary mIoU",
}


def result_table(document: Mapping[str, Any], title: str | None = None) -> Table:
    """Return the table of a `metrics.json`: scores in percent before and after the CRF, and what the CRF gained.

    The paper's numbers, if the document carries them, stand under ours. What was not measured is shown as "–".
    """
    table = Table(title=title, caption=_caption(document), box=box.SIMPLE_HEAD, title_justify="left")
    table.caption_justify = "left"
    table.add_column("in %")
    for heading in ("before CRF", "after CRF", "gain"):
        table.add_column(heading, justify="right")
    paper = document.get("paper")
    for key, name in OVERALL.items():
        if key not in document:
            continue
        style = "bold" if key == "miou" else None
        table.add_row(name, *_cells(document[key], document[f"{key}_crf"]), style=style)
        if key == "miou" and paper is not None:
            cells = _cells(paper.get("miou"), paper.get("miou_crf"))
            table.add_row(Text(f"  paper{_place(paper)}"), *cells, style="dim")
    table.add_section()
    refined = document["iou_crf"] or {}
    for name, value in document["iou"].items():
        # As Text: a class named "[red]" is a name, not markup.
        table.add_row(Text(f"IoU {name}"), *_cells(value, refined.get(name)))
    return table


def duration(seconds: float | None) -> str:
    """Return a time in the two largest units that it needs: 45 s, 12 min, 3 h 05 min, 2 d 4 h; "–" for None."""
    if seconds is None:
        return ABSENT
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if hours == 0:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60:02} min" if days == 0 else f"{days} d {hours % 24} h"


def percent(value: float | None) -> str:
    """Return a fraction of 1 as a percentage with two decimals, "–" if there is none."""
    return ABSENT if value is None else f"{100 * value:.2f}"


def _cells(before: float | None, after: float | None) -> tuple[str, str, Text]:
    if before is None or after is None:
        return percent(before), percent(after), Text(ABSENT)
    gain = round(100 * (after - before), 2)
    style = "green" if gain > 0 else "red" if gain < 0 else ""
    return percent(before), percent(after), Text(f"{gain:+.2f}" if gain else "0.00", style=style)


def _place(paper: Mapping[str, Any]) -> str:
    places = [f"Table {paper['table']}"] if paper.get("table") is not None else []
    places += [str(paper["row"])] if paper.get("row") is not None else []
    return f" ({', '.join(places)})" if places else ""


def _caption(document: Mapping[str, Any]) -> str:
    parts = [f"{document['num_images']} pictures"]
    if document.get("num_skipped"):
        parts.append(f"{document['num_skipped']} unreadable and left out")
    if document.get("num_crf_skipped"):
        parts.append(f"{document['num_crf_skipped']} without the CRF")
    if document.get("seconds") is not None:
        parts.append(f"{document['seconds']:.0f} s")
    return ", ".join(parts)
