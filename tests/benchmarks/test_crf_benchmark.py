from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "crf.py"
TINY = ["--size", "30", "40", "--large-size", "32", "64", "--repeats", "1", "--pictures", "1", "--threads", "1", "2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("speed", "memory-bandwidth floor, 2 thread(s)"),
        ("large", "64 x 32, 19 labels"),
        ("memory", "native        2 thread(s)"),
        ("many", "2 processes of 1 thread"),
        ("approximations", "half_resolution"),
    ],
)
def test_every_part_runs(part: str, said: str) -> None:
    if importlib.util.find_spec("deeplab.crf._native") is None:
        pytest.skip("the C++ extension is not built")
    command = [sys.executable, str(SCRIPT), "--only", part, *TINY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
