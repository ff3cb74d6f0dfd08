"""The comparison as one HTML page that needs no other file and no network."""

from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from deeplab.comparison.gallery import Gallery
from deeplab.comparison_views.charts import Chart, colours, curve_chart, group_charts
from deeplab.comparison_views.markdown import best_first
from deeplab.reporting.tables import ABSENT, duration, percent

Plain = dict[str, Any]
MOST_BYTES = 15_000_000
_SPARE = 200_000
MACROS = ("column", "score", "plain_number", "signed", "spread", "card", "sentences", "gains")


def page(document: Plain, gallery: Gallery) -> str:
    """Return the page; pictures that would bring it over 15 MB are left out of its gallery, which then says so."""
    charts = [group_charts(document, number) for number in range(len(document["groups"]))]
    curves = curve_chart(document)
    ranked: list[str] = next(
        (each["variants"] for each in document["groups"] if set(each["variants"]) == set(gallery.variants)), []
    )
    size = len(_rendered(document, charts, curves, _gallery(gallery, 0, ranked)).encode())
    kept = 0
    for picture in gallery.pictures:
        size += sum(map(len, [picture["image"] or "", *picture["layers"].values()])) + 2000
        if size > MOST_BYTES - _SPARE:
            break
        kept += 1
    return _rendered(document, charts, curves, _gallery(gallery, kept, ranked))


def _gallery(gallery: Gallery, kept: int, ranked: list[str]) -> Plain:
    problems = list(gallery.problems)
    if 0 < kept < len(gallery.pictures):
        problems.append(f"{kept} of {len(gallery.pictures)} pictures are shown: more would make the page too large.")
    pictures = gallery.pictures[:kept]
    data = {
        "pictures": pictures,
        "layers": gallery.layers,
        "class_names": gallery.class_names,
        "palette": gallery.colours,
        "variants": gallery.variants,
        "ranked": ranked,
    }
    return {
        "problems": problems,
        "pictures": pictures,
        "chosen_by": gallery.chosen_by,
        "has_crf": any(value is not None for picture in pictures for value in picture["after"]),
        "data": data,
    }


def _rendered(document: Plain, charts: list[list[Chart]], curves: Chart, gallery: Plain) -> str:
    environment = Environment(
        loader=PackageLoader("deeplab.comparison_views"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {
        "percent": percent,
        "duration": duration,
        "memory": memory,
        "digits": digits,
        "remark": remark,
    }
    macros = environment.get_template("macros.html.j2").module
    every = [chart for group in charts for chart in group] + ([curves] if curves.figures else [])
    return environment.get_template("report.html.j2").render(
        title=document["headline"][0],
        document=document,
        variants=best_first(document),
        has_paper=any(variant["paper"] for variant in document["variants"]),
        has_remarks=any(remark(run) for run in document["runs"]),
        decided_gains={
            gain["variant"] for group in document["groups"] for gain in group["crf_gains"] if gain["decided"]
        },
        groups=document["groups"],
        charts=charts,
        curves=curves if curves.figures else None,
        chart_data={chart.key: {"figures": chart.figures} for chart in every},
        gallery=gallery,
        states=sorted({run["state"] for run in document["runs"]}),
        tint=colours([variant["name"] for variant in document["variants"]]),
        style=_own("report.css"),
        script=_own("report.js") + _own("gallery.js"),
        plotly=Markup(get_plotlyjs()),
        **{name: getattr(macros, name) for name in MACROS},
    )


def _own(name: str) -> Markup:
    """A file of this package, which is no user's text."""
    return Markup((files("deeplab.comparison_views") / "templates" / name).read_text(encoding="utf-8"))


def remark(run: Plain) -> str:
    """Return what is to be said of a run beside its numbers."""
    if not run["counted"] and run["miou"] is not None and not run["problems"]:
        return "not counted: a newer run has this seed"
    return "; ".join(run["problems"])


def memory(size: float | None) -> str:
    """Return bytes as `1.2 GB`."""
    return ABSENT if size is None else f"{size / 1e9:.2f} GB"


def digits(value: float | None) -> str:
    """Return a number with three digits."""
    return ABSENT if value is None else f"{value:.3g}"
