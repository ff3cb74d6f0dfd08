"""The tables of a comparison in LaTeX (with the package booktabs)."""

from typing import Any

from deeplab.reporting.tables import ABSENT, percent

Plain = dict[str, Any]
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "−": "$-$",
    ABSENT: "--",
}


def class_table(group: Plain, document: Plain) -> str:
    """Return the IoU of each class, mean over seeds, one row a variant, before and after the CRF, the best in bold.

    The last column is mIoU with the standard deviation over seeds.
    """
    rows = _rows(group, document)
    known = [[value for _, values, _ in rows if (value := values[k]) is not None] for k in _columns(group)]
    best = [max(each, default=None) for each in known]
    headings = " & ".join(rf"\rotatebox{{90}}{{{escape(name)}}}" for name in group["class_names"])
    lines = [
        f"% IoU in percent on {escape(group['title'])}; needs the packages booktabs and graphicx.",
        rf"\begin{{tabular}}{{l{'r' * (len(group['class_names']) + 1)}}}",
        r"\toprule",
        rf" & {headings} & mIoU \\",
        r"\midrule",
    ]
    for name, values, spread in rows:
        cells = [_cell(values[k], best[k]) for k in _columns(group)]
        deviation = "" if spread is None or spread["std"] is None else rf" $\pm$ {100 * spread['std']:.1f}"
        mean = ABSENT if spread is None else f"{100 * spread['mean']:.1f}"
        lines.append(rf"{escape(name)} & {' & '.join(cells)} & {escape(mean)}{deviation} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _columns(group: Plain) -> range:
    return range(len(group["class_names"]))


def _rows(group: Plain, document: Plain) -> list[tuple[str, list[float | None], Plain | None]]:
    spreads = {variant["name"]: variant for variant in document["variants"]}
    return [
        (f"{name}{label}", group["classes"][name][key], spreads[name][miou])
        for key, miou, label in (("iou", "miou", ""), ("iou_crf", "miou_crf", " + CRF"))
        for name in group["variants"]
        if group["classes"][name][key] is not None
    ]


def _cell(value: float | None, best: float | None) -> str:
    text = escape(ABSENT if value is None else f"{100 * value:.1f}")
    return rf"\textbf{{{text}}}" if value is not None and percent(value) == percent(best) else text


def escape(text: str) -> str:
    """Escape what LaTeX would read as a command."""
    return "".join(_ESCAPES.get(character, character) for character in text)
