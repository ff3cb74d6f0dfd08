"""`deeplab data check`: read every file of a data set and report what is wrong with it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from deeplab.data.labels import LabelRule
    from deeplab.inspection.sheets import Sheets


def check_data(config: "DictConfig", folder: Path) -> None:
    """Print what the splits hold; ends with status 1 if files are missing, unreadable or at odds with each other.

    With `output` some pictures are drawn beside their masks, and training crops.
    """
    from rich.console import Console

    from deeplab.config.check import check_data_section
    from deeplab.config.make import make
    from deeplab.config.preflight import preflight, to_plain
    from deeplab.config.processes import worker_count
    from deeplab.data.labels import LabelRule
    from deeplab.errors import InputError
    from deeplab.inspection.inspect import inspect
    from deeplab.inspection.tables import print_report

    own = to_plain(config)
    preflight({"data": own["data"]})
    data = own["data"]
    layout = make(data["layout"], "data.layout")
    if not hasattr(layout, "files"):
        raise InputError(f"data={data['name']}: its pictures are generated, there are no files to check.")
    if own["workers"] is not None and own["workers"] < 1:
        raise InputError(f"workers={own['workers']}: it must be at least 1, or null for one a core.")
    check_data_section(data)
    rule = LabelRule(len(data["class_names"]), data["label_map"], data["ignore_label"])
    splits = own["splits"] or list(dict.fromkeys([data["train_split"], data["val_split"]]))
    sheets = None if own["output"] is None else _sheets(data, rule, Path(own["output"]).expanduser())
    workers = worker_count("workers", own["workers"])
    report = inspect(layout, rule, splits, data["name"], train_split=data["train_split"], workers=workers)
    console = Console()
    console.width = max(console.width, 110)  # names are not cut where output goes into a file
    print_report(console, report, data["class_names"])
    if sheets is not None:
        for split in splits:
            for path in sheets.write(split, layout.files(split), with_crops=split == data["train_split"]):
                print(f"{path} shows some pictures of {split}.")
    if report.exit_code:
        sys.exit(report.exit_code)


def _sheets(data: dict[str, Any], rule: "LabelRule", output: Path) -> "Sheets":
    from deeplab.data.palette import class_palette
    from deeplab.data.transforms import TrainTransform
    from deeplab.inspection.sheets import PAD_RGB, Sheets
    from deeplab.reporting.picture_jobs import check_writable

    names = data["class_names"]
    transform = TrainTransform(
        crop_size=data["crop_size"],
        scales=data["scales"],
        scale_range=data["scale_range"],
        mirror=data["mirror"],
        pad_rgb=PAD_RGB,
        seed=0,
        color_jitter=data["color_jitter"],
    )
    sheets = Sheets(output, rule, names, class_palette(data["palette"], len(names)), transform)
    check_writable(output)
    return sheets


def main() -> None:
    """Entry point."""
    from deeplab.config.launch import run

    run("data check", check_data)


if __name__ == "__main__":
    main()
