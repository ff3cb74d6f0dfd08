"""The results so far, one line a picture and cell, so that a search goes on after a kill where it stood."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.crf_search.cells import Cell
from deeplab.crf_search.tallies import Tally
from deeplab.errors import InputError
from deeplab.reporting.writing import replacing

Setting = Cell | None
"""None stands for no CRF."""


class Results:
    """Tallies by picture and setting, kept in memory and appended to a file of JSON lines.

    A line: `{"id": ..., "cell": [five numbers] or null, "counts": [[class, hits, truth, predicted], ...]}`. A last
    line that a kill cut short is dropped when the file is opened.

    Raises InputError if the file cannot be read or written or is no such file.
    """

    def __init__(self, path: Path, num_classes: int) -> None:
        self._path = path
        self._num_classes = num_classes
        self._known: dict[tuple[str, Setting], Tally] = {}
        self.num_resumed = self._read()
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise InputError(f"Cannot write {path}: {error.strerror}; choose another output.") from error

    def __contains__(self, key: tuple[str, Setting]) -> bool:
        return key in self._known

    def __getitem__(self, key: tuple[str, Setting]) -> Tally:
        return self._known[key]

    def add(self, name: str, setting: Setting, counts: Tally) -> None:
        """Keep a result and write its line.

        Raises InputError if the disk is full.
        """
        self._known[name, setting] = counts
        present = np.flatnonzero(counts.any(axis=0))
        line = {
            "id": name,
            "cell": None if setting is None else list(vars(setting).values()),
            "counts": [[int(k), *map(int, counts[:, k])] for k in present],
        }
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._full(error) from error

    def close(self) -> None:
        """Close the file.

        Raises InputError if the disk is full; what could not be written before is tried again here.
        """
        try:
            self._file.close()
        except OSError as error:
            raise self._full(error) from error

    def _full(self, error: OSError) -> InputError:
        return InputError(f"Cannot write {self._path}: {error.strerror}; free space and run it again.")

    def _read(self) -> int:
        if not self._path.is_file():
            return 0
        try:
            data = self._path.read_bytes()
        except OSError as error:
            raise InputError(f"Cannot read {self._path}: {error.strerror}.") from error
        whole = data[: data.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise InputError(
                    f"{self._path}, line {number}: this is no result of a search ({error}); remove the file or choose "
                    "another output."
                ) from error
        if len(whole) < len(data):
            with replacing(self._path) as file:
                file.write(whole)
        return len(self._known)

    def _take(self, line: dict[str, Any]) -> None:
        counts = np.zeros((3, self._num_classes), dtype=np.int64)
        for k, *values in line["counts"]:
            counts[:, k] = values
        self._known[line["id"], None if line["cell"] is None else Cell(*line["cell"])] = counts
