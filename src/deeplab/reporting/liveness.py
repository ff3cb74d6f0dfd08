"""Whether the process that a run's `run.json` names is still alive."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A living run touches its run.json once a BEAT; on another machine, a file untouched for LOST means a dead run.
BEAT = 30.0
LOST = 600.0


def process_facts() -> dict[str, Any]:
    """Return what names this process beyond doubt: its number, when it was started, and where numbers mean the same."""
    return {"pid": os.getpid(), "start": _start(os.getpid()), "space": _space()}


def is_alive(process: Mapping[str, Any] | None, touched: float) -> bool:
    """Say whether the process lives: by its number on its own machine, elsewhere by the time its file was touched.

    `touched` is the modification time of run.json, seconds since 1970.
    """
    space = _space()
    if process and space is not None and process.get("space") == space:
        return process.get("start") is not None and _start(int(process["pid"])) == process["start"]
    return time.time() - touched < LOST


def _space() -> str | None:
    """Name the boot of this machine and the container in which process numbers count, None where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _start(pid: int) -> int | None:
    """Return when a process was started, in ticks since the boot; None if there is no such process, or a dead one."""
    try:
        # The second field, the name in brackets, may hold blanks and brackets itself.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])
