"""The picture of a search: gains over no CRF, by sigma_alpha and sigma_beta."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deeplab.crf_search.cells import Cell
from deeplab.crf_search.search import Found
from deeplab.reporting.tables import percent
from deeplab.reporting.writing import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

X_LABEL, Y_LABEL = "σα, bilateral_xy_std (pixels)", "σβ, bilateral_rgb_std (0..255)"


def write_heat_map(path: Path, found: Found) -> None:
    """Draw mIoU over sigma_alpha x sigma_beta: the coarse grid at its best weights, and the refinement at the best.

    Cells at random places are drawn as points, of all weights. Colours are gains over no CRF: blue above, red below.

    Raises InputError if it cannot be written.
    """
    from matplotlib.figure import Figure

    shown_panels = panels(found)
    figure = Figure(figsize=(7.5 * len(shown_panels) + 1, 5), layout="constrained")
    axes = list(figure.subplots(1, len(shown_panels), squeeze=False)[0])
    shown_cells = [cell for _, _, cells in shown_panels for cell in cells]
    most = max(abs(_gain(found, cell)) for cell in shown_cells) or 1e-6
    for ax, (name, best, cells) in zip(axes, shown_panels, strict=True):
        colours = {"cmap": "RdBu", "vmin": -most, "vmax": most}
        shown = _grid(ax, found, best, cells, colours) if found.coarse else _points(ax, found, best, cells, colours)
        ax.set_xlabel(X_LABEL)
        ax.set_ylabel(Y_LABEL)
        ax.set_title(name)
    figure.colorbar(shown, ax=axes, label=f"gain over no CRF ({percent(found.searched.miou)}), points")
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=110)


def panels(found: Found) -> list[tuple[str, Cell, list[Cell]]]:
    """Title, best cell and cells of each panel."""
    cells = list(found.mious)
    if not found.coarse:
        return [(f"{len(cells)} trials; circled: {found.best.text()}, mIoU in %", found.best, cells)]
    best = found.coarse_best
    drawn = [(_title("coarse grid", best), best, _alike(cells[: found.coarse], best))]
    if found.best == best:
        return drawn
    refined = _alike(cells[found.coarse :], found.best)
    xs, ys = ([getattr(cell, axis) for cell in refined] for axis in ("bilateral_xy_std", "bilateral_rgb_std"))
    near = [
        cell
        for cell in _alike(cells, found.best)
        if min(xs) <= cell.bilateral_xy_std <= max(xs) and min(ys) <= cell.bilateral_rgb_std <= max(ys)
    ]
    return [*drawn, (_title("refined", found.best), found.best, near)]


def _title(name: str, best: Cell) -> str:
    return f"{name}, w1 = {best.bilateral_weight:g}, w2 = {best.gaussian_weight:g}: mIoU in %"


def _alike(cells: Iterable[Cell], best: Cell) -> list[Cell]:
    """Return the cells with the weights and sigma_gamma of `best`."""
    fixed = ("bilateral_weight", "gaussian_weight", "gaussian_xy_std")
    return [cell for cell in cells if all(getattr(cell, key) == getattr(best, key) for key in fixed)]


def _gain(found: Found, cell: Cell) -> float:
    """In points."""
    return 100 * (found.mious[cell] - found.searched.miou)


def _grid(ax: "Axes", found: Found, best: Cell, cells: list[Cell], colours: dict[str, Any]) -> Any:
    xs = sorted({cell.bilateral_xy_std for cell in cells})
    ys = sorted({cell.bilateral_rgb_std for cell in cells})
    gains = np.full((len(ys), len(xs)), np.nan)
    for cell in cells:
        row, column = ys.index(cell.bilateral_rgb_std), xs.index(cell.bilateral_xy_std)
        gains[row, column] = gain = _gain(found, cell)
        colour = "white" if abs(gain) > 0.6 * colours["vmax"] else "black"
        weight = "bold" if cell == best else "normal"
        text = percent(found.mious[cell])
        ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=8, fontweight=weight)
    ax.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
    ax.set_yticks(range(len(ys)), [f"{y:g}" for y in ys])
    return ax.imshow(gains, origin="lower", aspect="auto", **colours)


def _points(ax: "Axes", found: Found, best: Cell, cells: list[Cell], colours: dict[str, Any]) -> Any:
    xs, ys = [cell.bilateral_xy_std for cell in cells], [cell.bilateral_rgb_std for cell in cells]
    ax.scatter([best.bilateral_xy_std], [best.bilateral_rgb_std], s=260, facecolors="none", edgecolors="black")
    ax.grid(color="0.9")
    ax.set_axisbelow(True)
    return ax.scatter(
        xs, ys, c=[_gain(found, cell) for cell in cells], s=90, edgecolors="0.4", linewidths=0.5, **colours
    )
