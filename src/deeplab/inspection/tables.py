"""The tables of `data check`."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from deeplab.inspection.inspect import Report, SplitReport
from deeplab.inspection.scan import Fault


def print_report(console: Console, report: Report, class_names: Sequence[str]) -> None:
    """Print what was read, the labels, and a line for everything that is wrong."""
    console.print(_files(report.splits))
    console.print(_labels(report.splits, class_names))
    for colour, what, sentences in (("red", "Problem", report.problems), ("yellow", "Warning", report.warnings)):
        for sentence in sentences:
            console.print(f"[{colour}]{what}:[/] {escape(sentence)}", soft_wrap=True, highlight=False)
    if not report.problems and not report.warnings:
        console.print("Nothing is wrong.")


def _files(splits: Sequence[SplitReport]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("split")
    for heading in ("pictures", "masks read", "void", "masks with void", *(fault.value for fault in Fault)):
        table.add_column(heading, justify="right")
    for split in splits:
        faults = [len(split.faults.get(fault, [])) for fault in Fault]
        cells = [split.num_pictures, split.masks_read, _share(split.void_share), int(split.masks_with_label[-1])]
        table.add_row(
            Text(split.name), *map(str, cells), *(Text(str(each), style="red" if each else "") for each in faults)
        )
    return table


def _labels(splits: Sequence[SplitReport], class_names: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("label", justify="right")
    table.add_column("class")
    for split in splits:
        table.add_column(Text(f"{split.name}: share of valid pixels"), justify="right")
        table.add_column("masks", justify="right")
    for label, name in enumerate(class_names):
        cells: list[str] = []
        for split in splits:
            valid = max(int(split.pixels[:-1].sum()), 1)
            cells += [_share(int(split.pixels[label]) / valid), str(int(split.masks_with_label[label]))]
        table.add_row(str(label), Text(name), *cells)
    return table


def _share(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"
