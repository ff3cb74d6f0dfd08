"""Writes checkpoints aside: a snapshot on the training thread, the file in the background, whole or not at all."""

import copy
import logging
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from deeplab.errors import InputError
from deeplab.reporting.run_files import LAST, PREVIOUS
from deeplab.reporting.writing import systems_error

log = logging.getLogger(__name__)

Content = dict[str, Any]


class WholeFiles(TorchCheckpointIO):
    """Writes beside the checkpoint's place, to the disk, and then renames; one file at a time, in the background.

    Lightning writes into the system's temporary folder, which may be another disk or memory, and moves it from there.
    The `last.ckpt` that is replaced stays as `previous.ckpt`; at no moment is there no `last.ckpt`. A file that could
    not be written is owed: what it was to hold is kept and tried again with the next one, unless that is newer.

    Args:
        stops: whether a place that cannot be written, or a full disk, is raised by the next call. If not, it is
            logged and the run goes on; `finish` raises in any case.
        keep_replaced: False lets the first `last.ckpt` that is replaced go, because it is damaged.
    """

    def __init__(self, stops: bool = True, keep_replaced: bool = True) -> None:
        self.stops = stops
        self._keep_replaced = keep_replaced
        self._thread: threading.Thread | None = None
        self._owed: dict[Path, Content] = {}
        self._failure: InputError | None = None
        self._fault: Exception | None = None

    def save_checkpoint(self, checkpoint: Content, path: Any, storage_options: Any = None) -> None:
        """Take a snapshot and return; waits for the file before it.

        Raises InputError as `check`.
        """
        self._join()
        self.check()
        self._owed[Path(path)] = _snapshot(checkpoint)
        # No daemon: a process that ends by itself waits for the file.
        self._thread = threading.Thread(target=self._write_aside, name="checkpoint")
        self._thread.start()

    @property
    def is_writing(self) -> bool:
        """Whether a file is being written now."""
        return self._thread is not None and self._thread.is_alive()

    def check(self) -> None:
        """Raise InputError if a file could not be written and the run is to stop for it."""
        failure = self._failure
        if failure is not None and self.stops:
            raise failure

    def finish(self) -> None:
        """Wait until everything is on the disk; raises InputError for what is still owed."""
        self._join()
        if self._owed:
            self._write_owed()
        if self._owed and self._failure is not None:
            raise self._failure

    def teardown(self) -> None:
        self._join()

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._fault is not None:
            raise self._fault

    def _write_aside(self) -> None:
        try:
            self._write_owed()
        except Exception as error:  # raised where the training waits for the file
            self._fault = error

    def _write_owed(self) -> None:
        for place, content in list(self._owed.items()):
            try:
                self._write(content, place)
            except (OSError, RuntimeError) as error:
                cause = systems_error(error)
                if cause is None:
                    raise
                self._failure = _unwritable(place, cause)
                if not self.stops:
                    log.warning("%s The run goes on and will try again", self._failure)
                return
            del self._owed[place]

    def _write(self, content: Content, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        part = part_of(place)
        try:
            with part.open("wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            if place.name == LAST and place.exists():
                self._set_aside(place)
            part.replace(place)
            _sync_folder(place.parent)
        finally:
            part.unlink(missing_ok=True)

    def _set_aside(self, last: Path) -> None:
        if self._keep_replaced:
            second_name = part_of(last.with_name(PREVIOUS))
            second_name.unlink(missing_ok=True)
            try:
                second_name.hardlink_to(last)  # so that last.ckpt is there at every moment
            except OSError:  # a file system without links: a kill in between leaves previous.ckpt alone, which will do
                last.replace(second_name)
            second_name.replace(last.with_name(PREVIOUS))
        self._keep_replaced = True


def part_of(place: Path) -> Path:
    """Where a checkpoint lies while it is written."""
    return place.with_name(f".{place.name}.part")


def remove_parts(folder: Path) -> None:
    """Remove what a killed run left half-written."""
    for part in folder.glob(".*.ckpt.part"):
        part.unlink(missing_ok=True)


def _unwritable(place: Path, cause: OSError) -> InputError:
    return InputError(
        f"{place}: the checkpoint cannot be written ({cause.strerror}); free the disk, or choose another place by "
        "hydra.run.dir. Older checkpoints are as they were."
    )


def _snapshot(value: Any) -> Any:
    """A copy in the memory of the CPU that no later step changes."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        made = OrderedDict if isinstance(value, OrderedDict) else dict
        return made((key, _snapshot(each)) for key, each in value.items())
    if type(value) in (list, tuple):
        return type(value)(_snapshot(each) for each in value)
    return copy.deepcopy(value)


def _sync_folder(folder: Path) -> None:
    """Put the new names on the disk as well."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
