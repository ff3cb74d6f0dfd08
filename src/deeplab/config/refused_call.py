"""What a refused call leaves: nothing, where nothing was there before, and else what was."""

from pathlib import Path

from deeplab.reporting.liveness import process_facts
from deeplab.reporting.run_files import read_run_if_any

HYDRAS = ".hydra"


class FolderBefore:
    """A run's folder as it was before Hydra wrote into it, for a call that may be refused.

    folder: None where the command line names none: Hydra then makes a new one.
    """

    def __init__(self, folder: Path | None) -> None:
        self._named = folder is not None
        self._existed = folder is not None and folder.is_dir()
        self._hydra = {} if folder is None else _contents(folder / HYDRAS)
        self._run = {} if folder is None else read_run_if_any(folder)

    def bring_back(self, folder: Path) -> None:
        """Undo what Hydra wrote for this call, unless its run has begun, which `run.json` shows."""
        record = read_run_if_any(folder)
        if record != self._run and record.get("process") == process_facts():
            return
        for name, content in self._hydra.items():
            (folder / HYDRAS / name).write_bytes(content)
        if not self._hydra and _is_bare(folder):
            self._remove(folder)

    def _remove(self, folder: Path) -> None:
        for each in [*(folder / HYDRAS).iterdir(), *folder.glob("*.log")]:
            each.unlink()
        (folder / HYDRAS).rmdir()
        if not self._existed:
            folder.rmdir()
        # outputs/NAME, unless there are other runs; where the user named a folder, the one above is the user's.
        if not self._named and not any(folder.parent.iterdir()):
            folder.parent.rmdir()


def named_folder(arguments: list[str]) -> Path | None:
    """The run's folder that a command line names."""
    given = [each.partition("=")[2] for each in arguments if each.startswith("hydra.run.dir=")]
    return Path(given[-1].strip("'\"")).expanduser() if given else None


def _contents(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()} if folder.is_dir() else {}


def _is_bare(folder: Path) -> bool:
    """Whether there is nothing in it but Hydra's own and the call's log."""
    return {each.name for each in folder.iterdir()} == {HYDRAS, *(each.name for each in folder.glob("*.log"))}
