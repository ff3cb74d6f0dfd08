"""What a search leaves behind: sentences, a table, a heat map, every cell's score, and the best parameters."""

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from deeplab.crf.params import CRFParams
from deeplab.crf_search.cells import AXES, Cell
from deeplab.crf_search.heat_map import write_heat_map
from deeplab.crf_search.search import Comparison, Found
from deeplab.reporting.run_files import write_json
from deeplab.reporting.tables import percent
from deeplab.reporting.writing import replacing

BEST = "crf/best.yaml"
MAP = "heatmap.png"


def sentences(found: Found) -> list[str]:
    """Say what was found, whether it helps, how sure that is, and what to look at next."""
    searched = found.searched
    lines = [f"On the {_pictures(searched)} searched, {_against(searched, found.best)}."]
    if not found.improves:
        lines.append(
            f"None of the {len(found.mious)} settings beats no CRF on these pictures: leave it out (crf=none), or "
            "search other ranges."
        )
    if found.held_out is None:
        lines.append(
            "All pictures with labels were searched, so the gain is that of the winner on its own pictures, which "
            "flatters it: a smaller search.num_pictures leaves some to check it on."
        )
    else:
        lines.append(f"On {_pictures(found.held_out, 'other ')}, {_against(found.held_out, found.best)}.")
        lines.append(_verdict(found.held_out))
    if edges := found.edges():
        lines.append(f"The best value is the outermost tried of {', '.join(edges)}: wider ranges may find better.")
    return lines


def _pictures(scores: Comparison, which: str = "") -> str:
    return f"{scores.num_pictures} {which}picture{'' if scores.num_pictures == 1 else 's'}"


def _against(scores: Comparison, best: Cell) -> str:
    gain, (low, high) = scores.gain
    measured = "its interval cannot be measured on these pictures"
    if low is not None and high is not None:
        measured = f"95 % interval {100 * low:+.2f} to {100 * high:+.2f} over pictures"
    return (
        f"{best.text()} gives mIoU {percent(scores.miou_crf)} against {percent(scores.miou)} without the CRF: "
        f"{100 * gain:+.2f} points, {measured}"
    )


def _verdict(scores: Comparison) -> str:
    if scores.gain.interval.holds_zero:
        why = "The interval holds 0" if scores.gain.interval.low is not None else "There is no interval"
        return f"{why}: on pictures that took no part in the search, no gain or loss is shown."
    if scores.gain.gain > 0:
        return "So the CRF helps on pictures that took no part in the search."
    return "So the CRF does harm on pictures that took no part in the search: leave it out (crf=none)."


def table(found: Found, rows: int = 10) -> Table:
    """Return the best cells, in percent, over no CRF."""
    ordered = sorted(found.mious, key=lambda cell: -found.mious[cell])
    result = Table(box=box.SIMPLE_HEAD, title=f"the best of {len(ordered)} settings", title_justify="left")
    for heading in ("w1", "σα", "σβ", "w2", "σγ", "mIoU", "gain"):
        result.add_column(heading, justify="right")
    for cell in ordered[:rows]:
        gain = found.mious[cell] - found.searched.miou
        values = [cell.bilateral_weight, cell.bilateral_xy_std, cell.bilateral_rgb_std]
        values += [cell.gaussian_weight, cell.gaussian_xy_std]
        texts = [f"{value:g}" for value in values]
        result.add_row(*texts, percent(found.mious[cell]), f"{100 * gain:+.2f}", style="green" if gain > 0 else "red")
    result.add_section()
    result.add_row("no CRF", "", "", "", "", percent(found.searched.miou), "")
    return result


def write_report(folder: Path, found: Found, fixed: CRFParams, about: dict[str, Any]) -> None:
    """Write `search.json`, `cells.csv`, `heatmap.png` and `crf/best.yaml`.

    Raises InputError if they cannot be written.
    """
    document = {
        **about,
        "best": asdict(found.best),
        "improves": found.improves,
        "searched": _numbers(found.searched),
        "held_out": None if found.held_out is None else _numbers(found.held_out),
        "sentences": sentences(found),
    }
    write_json(folder / "search.json", document)
    _write_csv(folder / "cells.csv", found)
    write_heat_map(folder / MAP, found)
    with replacing(folder / BEST) as file:
        file.write(best_yaml(found, fixed).encode())


def _numbers(scores: Comparison) -> dict[str, Any]:
    gain = scores.gain
    return {
        "num_pictures": scores.num_pictures,
        "miou": scores.miou,
        "miou_crf": scores.miou_crf,
        "gain": gain.gain,
        "interval": list(gain.interval),
    }


def _write_csv(path: Path, found: Found) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*AXES, "miou", "gain"])
    for cell, miou in found.mious.items():
        writer.writerow([*asdict(cell).values(), miou, miou - found.searched.miou])
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def best_yaml(found: Found, fixed: CRFParams) -> str:
    """Return a file for the config group `crf`; its heading says what it is worth."""
    lines = ["# Found by deeplab search-crf.", *(f"# {line}" for line in sentences(found))]
    lines += ["defaults:", "  - default", "  - _self_"]
    for key, value in asdict(found.best.params(fixed)).items():
        lines.append(f"{key}: {json.dumps(value)}")
    return "\n".join(lines) + "\n"
