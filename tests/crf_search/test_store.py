from pathlib import Path

import numpy as np
import pytest

from deeplab.crf_search.cells import Cell
from deeplab.crf_search.store import Results
from deeplab.errors import InputError

CELL = Cell(50, 4, 3, 5, 3.5)
COUNTS = np.array([[5, 0, 2], [7, 0, 2], [5, 1, 3]])


def write(path: Path) -> None:
    results = Results(path, 3)
    results.add("a/b", CELL, COUNTS)
    results.add("a/b", None, 2 * COUNTS)
    results.close()


def test_results_come_back(tmp_path: Path) -> None:
    write(tmp_path / "r.jsonl")
    again = Results(tmp_path / "r.jsonl", 3)
    assert again.num_resumed == 2
    np.testing.assert_array_equal(again["a/b", CELL], COUNTS)
    np.testing.assert_array_equal(again["a/b", None], 2 * COUNTS)
    assert ("a/b", Cell(51, 4, 3, 5, 3.5)) not in again


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write(path)
    path.write_bytes(path.read_bytes()[:-4])
    results = Results(path, 3)
    assert results.num_resumed == 1
    results.add("c", None, COUNTS)
    results.close()
    assert Results(path, 3).num_resumed == 2


def test_a_full_disk_is_one_sentence_on_closing_too(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").symlink_to("/dev/full")
    results = Results(tmp_path / "r.jsonl", 3)
    for write_again in (lambda: results.add("a", None, COUNTS), results.close):
        with pytest.raises(InputError, match=r"Cannot write .*r\.jsonl: No space left on device; free space"):
            write_again()


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(InputError, match="line 1: this is no result of a search"):
        Results(tmp_path / "r.jsonl", 3)
