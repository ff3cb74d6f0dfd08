"""What Slurm's `squeue` says of jobs; it needs no accounting, unlike `sacct`."""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

SECONDS = 60  # for the controller to answer

# States that a job does not leave. One that goes back into the queue is shown as PENDING or COMPLETING meanwhile.
_OVER = frozenset(
    ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")
)


@dataclass(frozen=True)
class Entry:
    """A job in the queue: its state and, while it waits or when it has failed, Slurm's reason ("None" without one)."""

    state: str
    reason: str
    nodes: str

    @property
    def over(self) -> bool:
        """Whether the job has ended and will not go on by itself."""
        return self.state in _OVER

    def __str__(self) -> str:
        where = f" on {self.nodes}" if self.nodes else ""
        return f"{self.state}{where}" + ("" if self.reason in ("None", "") else f" ({self.reason})")


def queue(ids: Iterable[str]) -> dict[str, Entry] | None:
    """The entries of jobs (`123`, or `123_0` in an array) that Slurm knows: those in the queue and for a while after.

    None if the controller does not answer, as while it is restarted.
    """
    numbers = ",".join(sorted({each.split("_")[0] for each in ids}))
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r|%N", f"--jobs={numbers}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    rows = [line.split("|") for line in done.stdout.splitlines()]
    return {row[0]: Entry(*row[1:]) for row in rows if len(row) == 4}
