"""The page's charts, as plotly's figures in plain values."""

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

Plain = dict[str, Any]
# Okabe and Ito's colours, told apart by colour-blind readers; black and yellow, which vanish on a dark or a light page,
# are left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8172B3", "#937860")
DASHES = ("solid", "dash", "dot", "dashdot")
MOST_CONFUSION_CELLS = 120_000
MANY_ROWS = 15  # with more, the rows of a chart stand closer
LONGEST_TICK = 28  # letters beside an axis; more would leave no room for the chart
BANDS = {
    "trimap": "bands around the truth's void outlines (trimaps, the paper's figure 10)",
    "class_edges": "bands around the truth's edges between classes (not the paper's trimaps)",
}


@dataclass
class Chart:
    """One chart: `figures` by the choice that shows them; `smooth` offers smoothing of its lines."""

    key: str
    title: str
    text: str
    figures: dict[str, Plain] = field(default_factory=dict)
    smooth: bool = False


def colours(names: Sequence[str]) -> dict[str, str]:
    """Give each variant a colour, the same in all charts."""
    return {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}


def group_charts(document: Plain, number: int) -> list[Chart]:
    """Return the charts of one group of comparable variants; those without data are left out."""
    document = _escaped(document)
    group = document["groups"][number]
    variants = [each for each in document["variants"] if each["group"] == number]
    ordered = sorted(variants, key=lambda each: group["variants"].index(each["name"]))
    charts = [
        _scores(document, ordered),
        _differences(group),
        _class_bars(group, ordered, document),
        _class_differences(group, document),
        _crf_gains(group, document),
        _boundaries(ordered, document),
        _confusion(group, ordered),
    ]
    for chart in charts:
        chart.key = f"{chart.key}-{number}"
        chart.figures = {html.unescape(choice): figure for choice, figure in chart.figures.items()}
    return [chart for chart in charts if chart.figures]


def curve_chart(document: Plain) -> Chart:
    """Return the curves of all runs, a choice a quantity."""
    document = _escaped(document)
    tint = _tint(document)
    figures = {}
    for key, about in document["curve_names"].items():
        figure = go.Figure()
        for run, curves in zip(document["runs"], document["curves"], strict=True):
            curve = curves.get(key)
            if curve is None:
                continue
            name = document["variants"][run["variant"]]["name"]
            scale = 100 if about["percent"] else 1
            seeds = document["variants"][run["variant"]]["runs"]
            place = seeds.index(document["runs"].index(run))
            label = f"{name}, seed {run['seed']}" if run["seed"] is not None else run["name"]
            figure.add_scatter(
                x=curve["step"],
                y=[_short(scale * value) for value in curve["value"]],
                name=label,
                legendgroup=name,
                mode="lines+markers" if len(curve["step"]) < 25 else "lines",
                line={"color": tint[name], "dash": DASHES[place % len(DASHES)], "width": 2},
                hovertemplate="%{y:.4g}<extra>%{fullData.name}</extra>",
            )
        if figure.data:
            unit = " in %" if about["percent"] else ""
            _axes(figure, x="optimizer steps", y=about["name"] + unit, hovermode="x unified")
            figures[about["name"]] = _plain(figure)
    text = "All runs, one line a seed. Hover for the numbers at a step; click a name to hide its variant's lines."
    return Chart("curves", "Curves over steps", text, figures, smooth=True)


def _scores(document: Plain, variants: Sequence[Plain]) -> Chart:
    figure = go.Figure()
    names = [each["name"] for each in variants]
    for key, label, colour, symbol in (
        ("miou", "before the CRF", "#56B4E9", "circle-open"),
        ("miou_crf", "after the CRF", "#D55E00", "circle"),
    ):
        points = [
            (each["name"], 100 * value, document["runs"][index]["seed"])
            for each in variants
            for index in each["counted"]
            if (value := document["runs"][index][key]) is not None
        ]
        if points:
            figure.add_scatter(
                x=[score for _, score, _ in points],
                y=[name for name, _, _ in points],
                customdata=[seed for _, _, seed in points],
                name=label,
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 11, "line": {"width": 2, "color": colour}},
                hovertemplate="%{y}, seed %{customdata}: %{x:.2f} %<extra>" + label + "</extra>",
            )
        paper = [(each["name"], 100 * each["paper"][key]) for each in variants if (each["paper"] or {}).get(key)]
        if paper:
            figure.add_scatter(
                x=[score for _, score in paper],
                y=[name for name, _ in paper],
                name=f"the paper's, {label}",
                mode="markers",
                marker={"color": colour, "symbol": "x-thin", "size": 10, "line": {"width": 2, "color": colour}},
                hovertemplate="%{y}: %{x:.2f} %<extra>the paper, " + label + "</extra>",
            )
    _axes(figure, x="mIoU in %", y="")
    _rows(figure, names, [_short_name(name) for name in names])
    figure.update_layout(height=150 + (46 if len(names) <= MANY_ROWS else 22) * len(names))
    text = "One mark a seed: how far apart the marks of a variant lie is what seeds alone do."
    return Chart("scores", "mIoU of each seed", text, {"": _plain(figure)} if figure.data else {})


def _differences(group: Plain) -> Chart:
    figures = {}
    for key, label in (("after", "after the CRF"), ("before", "before the CRF")):
        pairs = [pair for pair in group["pairs"] if pair[key]]
        if not pairs:
            continue
        figure = go.Figure()
        names = [f"{pair['a']} − {pair['b']}" for pair in pairs]
        for which, text, colour, width, symbol in (
            ("over_pictures_and_seeds", "95 % over pictures and seeds", "#E69F00", 2, "line-ew-open"),
            ("over_pictures", "95 % over pictures", "#0072B2", 5, "circle"),
        ):
            shown = [(name, pair[key]) for name, pair in zip(names, pairs, strict=True) if _both(pair[key][which])]
            if shown:
                figure.add_scatter(
                    x=[100 * each["difference"] for _, each in shown],
                    y=[name for name, _ in shown],
                    error_x=_error([each["difference"] for _, each in shown], [each[which] for _, each in shown]),
                    name=text,
                    mode="markers",
                    marker={"color": colour, "size": 11, "symbol": symbol},
                    customdata=[[100 * value for value in each[which]] for _, each in shown],
                    hovertemplate="%{y}: %{x:+.2f}, %{customdata[0]:+.2f} to %{customdata[1]:+.2f}"
                    f"<extra>{text}</extra>",
                )
                figure.data[-1].error_x.update(color=colour, thickness=width, width=0)
        figure.add_vline(x=0, line_width=1, line_color="#888")
        _axes(figure, x="difference of mIoU in points", y="")
        _rows(figure, names, [f"{_short_name(pair['a'])}<br>− {_short_name(pair['b'])}" for pair in pairs])
        figure.update_layout(height=140 + (44 if len(names) <= MANY_ROWS else 36) * len(names))
        figures[label] = _plain(figure)
    text = (
        "Right of 0 the first is better. The thick bar counts which pictures happened to be in the split; the thin one "
        "also counts the seeds, and decides: where it crosses 0, or is missing, no winner is named."
    )
    return Chart("differences", "Differences with 95 % intervals", text, figures)


def _class_bars(group: Plain, variants: Sequence[Plain], document: Plain) -> Chart:
    figures = {}
    for key, label in (("iou_crf", "after the CRF"), ("iou", "before the CRF")):
        figure = go.Figure()
        for each in variants:
            iou = group["classes"][each["name"]][key]
            if iou is not None:
                figure.add_bar(
                    x=group["class_names"],
                    y=[_percent(value) for value in iou],
                    name=each["name"],
                    marker={"color": _tint(document)[each["name"]]},
                    hovertemplate="%{x}: %{y:.2f} %<extra>%{fullData.name}</extra>",
                )
        if figure.data:
            _axes(figure, x="", y=f"IoU {label} in %")
            figures[label] = _plain(figure)
    text = "Mean over seeds. A class that is neither in the truth nor predicted has no bar."
    return Chart("classes", "IoU of each class", text, figures)


def _class_differences(group: Plain, document: Plain) -> Chart:
    figures = {}
    for pair in group["pairs"]:
        for key, label in (("after", "after the CRF"), ("before", "before the CRF")):
            if pair[key]:
                title = f"{pair['a']} − {pair['b']}, {label}"
                figures[title] = _bars(group, pair[key], "difference of IoU in points")
    text = f"Above 0 the first is better on this class. {_class_intervals(document)}"
    return Chart("class-differences", "Which classes make the difference", text, figures)


def _class_intervals(document: Plain) -> str:
    fewest = document["bootstrap"]["fewest_class_pictures"]
    return f"Intervals are over pictures alone and count no seeds; a class in fewer than {fewest} pictures has none."


def _crf_gains(group: Plain, document: Plain) -> Chart:
    figures = {}
    for gain in group["crf_gains"]:
        figures[gain["variant"]] = _bars(group, gain, "change of IoU in points")
    text = f"Below 0 the CRF did harm. {_class_intervals(document)}"
    return Chart("crf-gains", "What the CRF gains on each class", text, figures)


def _bars(group: Plain, each: Plain, axis: str) -> Plain:
    order = sorted(range(len(each["classes"])), key=lambda k: -(each["classes"][k] or 0))
    values, labels = [each["classes"][k] for k in order], group["class_names"]
    figure = go.Figure()
    error = None
    if each["class_intervals"] is not None:
        error = _error(values, [each["class_intervals"][k] for k in order])
    figure.add_bar(
        x=[labels[k] for k in order],
        y=[_percent(value) for value in values],
        error_y=error,
        marker={"color": ["#D55E00" if (value or 0) < 0 else "#0072B2" for value in values]},
        hovertemplate="%{x}: %{y:+.2f}<extra></extra>",
        showlegend=False,
    )
    _axes(figure, x="", y=axis)
    return _plain(figure)


def _boundaries(variants: Sequence[Plain], document: Plain) -> Chart:
    figure, kinds = go.Figure(), {each["bands"]["kind"] for each in variants if each["bands"]}
    if len(kinds) == 1:
        for each in variants:
            for key, label, dash in (("miou_crf", "after the CRF", "solid"), ("miou", "before the CRF", "dot")):
                values = (each["bands"] or {}).get(key)
                if values:
                    figure.add_scatter(
                        x=each["bands"]["width"],
                        y=[_percent(value) for value in values],
                        name=f"{each['name']} {label}",
                        mode="lines",
                        line={"color": _tint(document)[each["name"]], "dash": dash, "width": 2},
                        hovertemplate="%{y:.2f} %<extra>%{fullData.name}</extra>",
                    )
        _axes(figure, x="width of the band in pixels", y="mIoU in %", hovermode="x unified")
    text = "mIoU of the pixels near boundaries alone, mean over seeds"
    text += f": {BANDS[next(iter(kinds))]}." if len(kinds) == 1 else "."
    return Chart("boundaries", "Near boundaries", text, {"": _plain(figure)} if figure.data else {})


def _confusion(group: Plain, variants: Sequence[Plain]) -> Chart:
    figures: dict[str, Plain] = {}
    labels, K = group["class_names"], len(group["class_names"])
    for each in variants:
        for key, label in (("confusion_crf", "after the CRF"), ("confusion", "before the CRF")):
            counts = group["classes"][each["name"]][key]
            if counts is None or (len(figures) + 1) * K * K > MOST_CONFUSION_CELLS:
                continue
            shares = [[_short(100 * value / sum(row)) if sum(row) else None for value in row] for row in counts]
            figure = go.Figure()
            figure.add_heatmap(
                x=labels,
                y=labels,
                z=shares,
                zmin=0,
                zmax=100,
                colorscale="Cividis",
                hovertemplate="truth %{y}, predicted %{x}: %{z:.2f} %<extra></extra>",
                colorbar={"title": {"text": "% of the truth"}, "thickness": 12},
            )
            _axes(figure, x="predicted", y="truth")
            figure.update_yaxes(autorange="reversed")
            figure.update_layout(height=max(420, min(900, 200 + 24 * K)))
            figures[f"{each['name']}, {label}"] = _plain(figure)
    text = "Each row shows where the pixels of one true class went, in percent of that class; all seeds together."
    return Chart("confusion", "Confusion matrix", text, figures)


def _rows(figure: go.Figure, names: Sequence[str], labels: Sequence[str]) -> None:
    """Put the rows of a chart in the order of `names`, the first on top, with labels short enough for a phone."""
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], tickvals=list(names), ticktext=list(labels))


def _short_name(name: str) -> str:
    """Shorten an escaped name beside an axis."""
    plain = html.unescape(name)
    return name if len(plain) <= LONGEST_TICK else html.escape(f"{plain[: LONGEST_TICK - 1]}…", quote=False)


def _tint(document: Plain) -> dict[str, str]:
    return colours([each["name"] for each in document["variants"]])


def _escaped(value: Any) -> Any:
    """Escape every text of a document: plotly reads some tags in names, which a class must not be able to set."""
    if isinstance(value, str):
        return html.escape(value, quote=False)
    if isinstance(value, dict):
        return {_escaped(key): _escaped(each) for key, each in value.items()}
    return [_escaped(each) for each in value] if isinstance(value, list) else value


def _axes(figure: go.Figure, x: str, y: str, hovermode: str = "closest") -> None:
    figure.update_layout(
        template=None,
        xaxis={"title": {"text": x}, "automargin": True},
        yaxis={"title": {"text": y, "standoff": 6}, "automargin": True},  # without a standoff it lies on the ticks
        hovermode=hovermode,
        hoverdistance=-1 if hovermode == "x unified" else 20,  # -1: the nearest step, however far
        margin={"l": 60, "r": 20, "t": 16, "b": 60},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "maxheight": 0.3},
        height=440,
    )


def _plain(figure: go.Figure) -> Plain:
    """The figure as plain values, without plotly's defaults."""
    document: Plain = json.loads(figure.to_json())
    document["layout"].pop("template", None)
    return document


def _error(values: Sequence[float | None], intervals: Sequence[Any]) -> Plain:
    """Error bars from intervals around values, in points."""

    def reach(value: float | None, bounds: Any, high: bool) -> float:
        if value is None or not _both(bounds):
            return 0.0
        return 100 * float(bounds[1] - value if high else value - bounds[0])

    pairs = list(zip(values, intervals, strict=True))
    return {
        "type": "data",
        "symmetric": False,
        "array": [reach(value, bounds, True) for value, bounds in pairs],
        "arrayminus": [reach(value, bounds, False) for value, bounds in pairs],
        "color": "#888",
    }


def _both(bounds: Any) -> bool:
    return bounds is not None and None not in bounds


def _percent(value: float | None) -> float | None:
    return None if value is None else _short(100 * value)


def _short(value: float) -> float:
    return float(f"{value:.5g}")
