"""Files are there whole or not at all, whatever library writes them."""

import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from PIL import Image

from deeplab.errors import InputError
from deeplab.reporting.writing import replacing

NOISE = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
WRITERS: dict[str, Callable[[BinaryIO], object]] = {
    "plain": lambda file: file.write(NOISE.tobytes()),
    "torch": lambda file: torch.save({"a": torch.from_numpy(NOISE)}, file),
    "numpy": lambda file: np.savez(file, a=NOISE),
    "pillow": lambda file: Image.fromarray(NOISE).save(file, format="PNG"),
}


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may have more than 8 kB: the system refuses what is beyond, as it does on a full disk."""
    before, action = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, action)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_disk_that_takes_no_more_leaves_the_older_file(tmp_path: Path, writer: str, small_disk: None) -> None:
    path = tmp_path / "a"
    path.write_text("older")
    sentence = r"Cannot write .*/a: File too large; free or choose another place\."
    with pytest.raises(InputError, match=sentence), replacing(path) as file:
        WRITERS[writer](file)
    assert path.read_text() == "older" and list(tmp_path.iterdir()) == [path]


def test_faults_of_ours_are_not_taken_for_the_disks(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ours"), replacing(tmp_path / "a"):
        raise RuntimeError("ours")
    assert not list(tmp_path.iterdir())
