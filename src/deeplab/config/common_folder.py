"""One run folder for all processes that torchrun starts: each of them would resolve `${now:}` for itself.

Process 0 lets Hydra choose the folder and tells it to the others, which wait for it before they start Hydra.
"""

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

WAIT = timedelta(seconds=300)


def in_common_folder(arguments: list[str]) -> list[str]:
    """The arguments, on processes other than 0 with the folder, and log file, that process 0's folder asks for.

    Such a process ends here, silently, where process 0 ended before it had a folder: it said why.
    """
    rank = int(os.environ.get("RANK", "0"))
    if not _started_by_torchrun() or rank == 0:
        return arguments
    folder = _store().get("folder").decode()
    if not folder:
        sys.exit(2)
    return [*arguments, f"hydra.run.dir={folder}", f"hydra.job.name=train_process_{rank}", "hydra.output_subdir=null"]


def tell_common_folder(folder: Path | None) -> None:
    """Tell the other processes the run's folder, or None if there will not be one; only process 0 does."""
    if _started_by_torchrun() and os.environ.get("RANK", "0") == "0":
        store = _store()
        if not store.check(["folder"]):
            store.set("folder", "" if folder is None else str(folder))


def _started_by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


def _store() -> Any:
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, None, False, WAIT, wait_for_workers=False)
    return PrefixStore(f"folder{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
