"""`deeplab compare`: which variant won, by how much, how sure that is, and where in the pictures."""

import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeplab.config.options import VALUED
from deeplab.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)


def compare(config: "DictConfig", folder: Path) -> None:
    """Write report.html, report.md and report.json into `output`, or else into `folder`."""
    from deeplab.comparison.document import compare as compare_runs
    from deeplab.comparison.gallery import build_gallery
    from deeplab.comparison.run import read_runs
    from deeplab.comparison.run_folders import find_runs
    from deeplab.comparison_views.markdown import markdown, summary
    from deeplab.comparison_views.page import page
    from deeplab.config.preflight import to_plain
    from deeplab.config.run_pictures import RunPictures
    from deeplab.reporting.run_files import json_text

    own = to_plain(config)
    _check(own)
    build_report = _report_builder() if own["wandb"] else None
    target = Path(own["output"]).expanduser() if own["output"] else folder
    runs = read_runs(find_runs([Path(each).expanduser() for each in own["runs"]]))
    document, groups = compare_runs(runs, own["bootstrap"], own["seed"])
    gallery = build_gallery(groups, own["pictures"], own["gallery_seed"], RunPictures(own["data"]["root"]))
    document["gallery"] = gallery.summary()
    html = page(document, gallery)
    report = build_report(document) if build_report else None
    write_pages(target, {"report.json": json_text(document), "report.md": markdown(document), "report.html": html})
    if own["figures"] is not None:
        from deeplab.comparison_views.figures import write_figures

        write_figures(Path(own["figures"]).expanduser(), document, gallery)
    if report is not None:
        _publish(report, target)
    for line in summary(document):
        log.info("%s", line)
    log.info("Everything lies in %s; open %s", target, target / "report.html")


def write_pages(folder: Path, texts: dict[str, str]) -> None:
    """Write all files or none, so that a full disk leaves no new report.json beside an old report.html.

    Raises InputError if they cannot be written.
    """
    from contextlib import ExitStack

    from deeplab.reporting.writing import replacing

    with ExitStack() as opened:
        files = {name: opened.enter_context(replacing(folder / name)) for name in texts}
        for name, file in files.items():
            file.write(texts[name].encode())
            file.flush()


def _report_builder() -> Callable[[dict[str, Any]], Any]:
    try:
        from deeplab.comparison_views.wandb_report import build_report
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("wandb"):
            raise
        raise InputError("wandb=true needs the extra wandb: pip install -c constraints.txt '.[wandb]'.") from error
    return build_report


def _publish(report: Any, target: Path) -> None:
    """Write wandb_report.json; upload the report where `wandb login` has been run."""
    import os

    from deeplab.comparison_views.wandb_report import publish, report_json
    from deeplab.reporting.run_files import write_json
    from deeplab.training.wandb_logging import logged_in

    path = target / "wandb_report.json"
    write_json(path, report_json(report))
    if logged_in() and os.environ.get("WANDB_MODE", "online") == "online":
        log.info("W&B report: %s", publish(report))
    else:
        log.info("Not logged in to W&B (wandb login), so the report was not uploaded; %s is what it would hold", path)


def _check(own: dict[str, Any]) -> None:
    from deeplab.comparison.gallery import MOST_PICTURES

    if not own["runs"]:
        raise InputError("Name the folders of runs or sweeps: deeplab compare outputs/sweeps/TIME.")
    if not 0 <= own["pictures"] <= MOST_PICTURES:
        raise InputError(f"pictures={own['pictures']}: it must be 0 (no gallery) to {MOST_PICTURES}.")
    if not 100 <= own["bootstrap"] <= 100_000:
        raise InputError(f"bootstrap={own['bootstrap']}: an interval needs 100 resamples or more, at most 100000.")
    if own["seed"] < 0:
        raise InputError(f"seed={own['seed']}: a seed of the resampling is 0 or more.")
    for key in ("output", "figures"):
        if own[key] and Path(own[key]).expanduser().is_file():
            raise InputError(f"{key}={own[key]} is a file; name a folder, which may be new.")


def with_runs(arguments: list[str]) -> list[str]:
    """Turn the paths among the arguments into one override: `a b output=c` -> `runs=['a','b'] output=c`."""
    override = re.compile(r"[+~]{0,2}[A-Za-z_][\w.@/]*=")
    paths, others, takes_value = [], [], False
    for argument in arguments:
        is_path = not argument.startswith("-") and not takes_value
        # A folder may have a `=` in its name; no override is the name of something that is there.
        if is_path and (not override.match(argument) or Path(argument).exists()):
            paths.append(argument)
        else:
            others.append(argument)
        takes_value = not takes_value and argument in VALUED
    quoted = ",".join(_quoted(path) for path in paths)
    return [*others, f"runs=[{quoted}]"] if paths else others


def _quoted(path: str) -> str:
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", path)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"'{escaped}'"


def main() -> None:
    """Entry point."""
    from deeplab.config.launch import run

    sys.argv[1:] = with_runs(sys.argv[1:])
    run("compare", compare)


if __name__ == "__main__":
    main()
