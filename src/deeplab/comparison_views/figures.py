"""Figures and tables for print: PDF and SVG in the widths of a two-column paper, LaTeX."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from deeplab.comparison.gallery import Gallery, decode
from deeplab.comparison_views.charts import COLOURS, colours
from deeplab.comparison_views.latex import class_table
from deeplab.reporting.writing import replacing

Plain = dict[str, Any]
COLUMN, PAGE = 3.4, 7.0  # inches
GRID_ROWS = 4
# Fonts are embedded as outlines that an editor can still read, and small letters match a paper's captions.
STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7,
    "pdf.fonttype": 42,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,
    "svg.hashsalt": "deeplab",
}


def write_figures(folder: Path, document: Plain, gallery: Gallery) -> list[Path]:
    """Write the figures and tables that the document has data for; return their paths.

    Raises InputError if they cannot be written.
    """
    written = []
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of every letter that it embeds
    with matplotlib.rc_context(STYLE):
        for name, figure in _figures(document, gallery):
            for suffix in ("pdf", "svg"):
                path = folder / f"{name}.{suffix}"
                with replacing(path) as file:
                    figure.savefig(file, format=suffix, dpi=300, bbox_inches="tight", metadata=_undated(suffix))
                written.append(path)
    for number, group in enumerate(document["groups"]):
        path = folder / f"classes{_suffix(number)}.tex"
        with replacing(path) as file:
            file.write(class_table(group, document).encode())
        written.append(path)
    return written


def _undated(suffix: str) -> dict[str, None]:
    """Leave the date out, so that the same runs give the same files."""
    return {"CreationDate": None} if suffix == "pdf" else {"Date": None}


def _suffix(number: int) -> str:
    return "" if number == 0 else f"_{number + 1}"


def _figures(document: Plain, gallery: Gallery) -> Iterator[tuple[str, Figure]]:
    for key, about in document["curve_names"].items():
        if any(key in curves for curves in document["curves"]):
            yield f"curves_{key.replace('/', '_')}", _curves(document, key, about)
    for number, group in enumerate(document["groups"]):
        variants = [each for each in document["variants"] if each["group"] == number]
        if group["pairs"]:
            yield f"differences{_suffix(number)}", _differences(group)
        if any(each["bands"] for each in variants):
            yield f"boundaries{_suffix(number)}", _boundaries(document, variants)
    if len(gallery.layers) > 1 and any(picture["image"] for picture in gallery.pictures):
        yield "pictures", _pictures(gallery)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _curves(document: Plain, key: str, about: Plain) -> Figure:
    """One line a run; runs of a variant share a colour and one entry of the legend."""
    figure, ax = _figure(COLUMN, 2.3)
    tint, scale, named = _tint(document), 100 if about["percent"] else 1, set()
    for run, curves in zip(document["runs"], document["curves"], strict=True):
        if key not in curves:
            continue
        name = document["variants"][run["variant"]]["name"]
        label = "_nolegend_" if name in named else name
        named.add(name)
        values = scale * np.array(curves[key]["value"])
        ax.plot(curves[key]["step"], values, color=tint[name], label=label, linewidth=1, alpha=0.85)
    ax.set_xlabel("optimizer steps")
    ax.set_ylabel(about["name"] + (" (%)" if about["percent"] else ""))
    _finish(ax)
    return figure


def _differences(group: Plain) -> Figure:
    """Every pair's difference with both intervals, after the CRF where there is one."""
    pairs = [(pair, pair["after"] or pair["before"]) for pair in group["pairs"]]
    figure, ax = _figure(COLUMN, 0.7 + 0.36 * len(pairs))
    places = np.arange(len(pairs))[::-1]
    for key, label, colour, width in (
        ("over_pictures_and_seeds", "95 % over pictures and seeds", COLOURS[5], 1.0),
        ("over_pictures", "95 % over pictures", COLOURS[0], 3.0),
    ):
        shown = [
            (y, each[key]) for y, (_, each) in zip(places, pairs, strict=True) if each[key] and None not in each[key]
        ]
        if shown:
            lows, highs = (100 * np.array([bounds[side] for _, bounds in shown]) for side in (0, 1))
            ax.hlines([y for y, _ in shown], lows, highs, color=colour, linewidth=width, label=label)
    ax.plot([100 * each["difference"] for _, each in pairs], places, "o", color="black", markersize=3)
    ax.axvline(0, color="grey", linewidth=0.8)
    ax.set_yticks(places, [f"{pair['a']}\n− {pair['b']}" for pair, _ in pairs])  # on one line it would fill the column
    ax.set_ylim(-0.6, len(pairs) - 0.4)
    ax.set_xlabel("difference of mIoU (points)")
    _finish(ax)
    return figure


def _boundaries(document: Plain, variants: Sequence[Plain]) -> Figure:
    figure, ax = _figure(COLUMN, 2.3)
    tint = _tint(document)
    for each in variants:
        for key, label, style in (("miou_crf", "after CRF", "-"), ("miou", "before CRF", ":")):
            values = (each["bands"] or {}).get(key)
            if values:
                numbers = [np.nan if value is None else 100 * value for value in values]
                ax.plot(each["bands"]["width"], numbers, style, color=tint[each["name"]], linewidth=1)
                ax.lines[-1].set_label(f"{each['name']}, {label}")
    ax.set_xlabel("width of the band (pixels)")
    ax.set_ylabel("mIoU (%)")
    _finish(ax)
    return figure


def _pictures(gallery: Gallery) -> Figure:
    """Picture, truth and each variant's final labels, of the pictures where variants differ most; and their classes."""
    final = [layer for layer in gallery.layers if layer["key"] == "truth" or layer["key"].endswith("c")]
    layers = final if len(final) > 1 else gallery.layers
    with_image = [picture for picture in gallery.pictures if picture["image"]]
    rows = sorted(with_image, key=_spread, reverse=True)[:GRID_ROWS]
    columns = len(layers) + 1
    figure = Figure(
        figsize=(PAGE, 0.7 + len(rows) * 0.8 * PAGE / columns), layout=ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01)
    )
    axes = figure.subplots(len(rows), columns, squeeze=False)
    palette = np.full((256, 3), 224, dtype=np.uint8)
    palette[: len(gallery.colours)] = gallery.colours
    seen: set[int] = set()
    for picture, line in zip(rows, axes, strict=True):
        for ax, layer in zip(line, [None, *layers], strict=True):
            ax.axis("off")
            if layer is None:
                ax.imshow(decode(picture["image"]).convert("RGB"))
            elif layer["key"] in picture["layers"]:
                labels = np.array(decode(picture["layers"][layer["key"]]))
                seen |= set(np.unique(labels).tolist())
                ax.imshow(palette[labels], interpolation="nearest")
    for ax, title in zip(axes[0], ["picture", *(layer["name"] for layer in layers)], strict=True):
        ax.set_title(title.replace(" after the CRF", "\nafter the CRF"), fontsize=7)
    # 255 is void; a foreign prediction may hold labels that no class has.
    named = {label: name for label, name in [*enumerate(gallery.class_names), (255, "void")] if label in seen}
    patches = [
        Patch(facecolor=palette[label] / 255, edgecolor="grey", linewidth=0.3, label=named[label]) for label in named
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=7, frameon=False, handlelength=1, handleheight=1)
    return figure


def _spread(picture: Plain) -> float:
    final = [b if a is None else a for a, b in zip(picture["after"], picture["before"], strict=True)]
    return float(max(final) - min(final))


def _finish(ax: Axes) -> None:
    ax.grid(alpha=0.3, linewidth=0.5)
    # Above, where it covers no line.
    ax.figure.legend(loc="outside upper center", frameon=False, ncols=2)


def _tint(document: Plain) -> dict[str, str]:
    return colours([variant["name"] for variant in document["variants"]])
