"""The comparison as Markdown, for a pull request or a notebook, and as lines for a terminal."""

from collections.abc import Sequence
from typing import Any

from deeplab.reporting.tables import ABSENT, percent

Plain = dict[str, Any]
MOST_LINES = 6


def summary(document: Plain) -> list[str]:
    """Return what a person who started the command wants to know at once."""
    lines = [f"Careful: {warning}" for warning in document["warnings"]] + list(document["headline"])
    lines += [group["others"] for group in document["groups"] if group["others"]]
    states = [run["state"] for run in document["runs"] if not run["counted"]]
    if states:
        lines.append(f"{len(states)} of {len(document['runs'])} runs take no part; the table of runs says why.")
    return lines[:MOST_LINES]


def markdown(document: Plain) -> str:
    """Return the whole report but for charts and pictures."""
    lines = ["# Comparison of runs", "", *(f"**{text(line)}**\n" for line in document["headline"])]
    lines += [f"{text(group['others'])}\n" for group in document["groups"] if group["others"]]
    lines += [f"> **Careful:** {text(warning)}\n" for warning in document["warnings"]]
    lines += [f"> {text(note)}\n" for note in document["notes"]]
    lines += ["## Variants", "", "Mean ± standard deviation over seeds, in %.", "", *_variants(document), ""]
    for group in document["groups"]:
        lines += [f"## {text(group['title'])}", ""]
        lines += [f"- {text(stage['sentence'])}" for pair in group["pairs"] for stage in _stages(pair)]
        lines += [f"- {text(gain['sentence'])}" for gain in group["crf_gains"]]
        lines += ["", "IoU of classes in %, mean over seeds:", "", *_classes(group), ""]
    lines += ["## Runs", "", *_runs(document), ""]
    drawn = document["bootstrap"]
    lines.append(
        f"Intervals: 95 %, of a paired bootstrap over pictures ({drawn['resamples']} resamples), stretched to the t "
        "interval of the jackknife where that reaches farther; over pictures and seeds where each side has "
        f"{drawn['fewest_seeds']} seeds or more, which alone decides who beats whom."
    )
    return "\n".join(lines) + "\n"


def _stages(pair: Plain) -> list[Plain]:
    return [pair[key] for key in ("after", "before") if pair[key]]


def _variants(document: Plain) -> list[str]:
    rows = [
        [
            variant["name"],
            str(len(variant["counted"])),
            spread(variant["miou"]),
            spread(variant["miou_crf"]),
            percent((variant["paper"] or {}).get("miou")),
            percent((variant["paper"] or {}).get("miou_crf")),
        ]
        for variant in best_first(document)
    ]
    return table(["variant", "seeds", "mIoU", "mIoU after CRF", "paper", "paper after CRF"], rows)


def best_first(document: Plain) -> list[Plain]:
    """Return the variants in the order of their final scores, by group of comparable ones; the unscored last."""
    place = {
        name: (n, rank) for n, group in enumerate(document["groups"]) for rank, name in enumerate(group["variants"])
    }
    last = (len(document["groups"]), 0)
    return sorted(document["variants"], key=lambda variant: place.get(variant["name"], last))


def _classes(group: Plain) -> list[str]:
    names = group["variants"]
    rows = []
    for k, label in enumerate(group["class_names"]):
        cells = [_both(group["classes"][name], k) for name in names]
        rows.append([label, *cells])
    return table(["class", *(f"{name}: before → after" for name in names)], rows)


def _both(classes: Plain, k: int) -> str:
    before, after = ((classes[key] or [None] * (k + 1))[k] for key in ("iou", "iou_crf"))
    return f"{percent(before)} → {percent(after)}"


def _runs(document: Plain) -> list[str]:
    rows = [
        [
            run["name"],
            document["variants"][run["variant"]]["name"],
            ABSENT if run["seed"] is None else str(run["seed"]),
            run["state"],
            percent(run["miou"]),
            percent(run["miou_crf"]),
            ABSENT if run["steps"] is None else str(run["steps"]),
            "; ".join(run["problems"]),
        ]
        for run in document["runs"]
    ]
    return table(["run", "variant", "seed", "state", "mIoU", "after CRF", "steps", "remarks"], rows)


def spread(value: Plain | None) -> str:
    """Return `68.20 ± 0.31`, in percent."""
    if value is None:
        return ABSENT
    return percent(value["mean"]) + ("" if value["std"] is None else f" ± {100 * value['std']:.2f}")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table, its cells escaped."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(text(cell) for cell in cells) + " |"

    return [line(headings), "|" + "---|" * len(headings), *map(line, rows)]


def text(value: str) -> str:
    """Escape what Markdown would read as markup."""
    for character in "\\`*_[]<>|#":
        value = value.replace(character, f"\\{character}")
    return " ".join(value.split())
