"""The table at the end of a sweep."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from deeplab.reporting.tables import percent
from deeplab.sweeping.record import Job

COLOURS = {"finished": "green", "failed": "red", "stopped": "yellow"}


def sweep_table(jobs: Sequence[Job], title: str) -> Table:
    """Return a row for every job: state, mIoU before and after the CRF in percent, time, and what went wrong."""
    result = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for heading, justify in (("job", "right"), ("what differs", "left"), ("state", "left"), ("mIoU", "right")):
        result.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for heading in ("with CRF", "seconds"):
        result.add_column(heading, justify="right")
    for job in jobs:
        state = job.state if job.error is None else f"{job.state}: {job.error}"
        seconds = "" if job.seconds is None else f"{job.seconds:.0f}"
        scores = ["" if score is None else percent(score) for score in (job.miou, job.miou_crf)]
        result.add_row(str(job.number), job.name, state, *scores, seconds, style=COLOURS.get(job.state))
    return result
