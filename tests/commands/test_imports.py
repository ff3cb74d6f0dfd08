"""What a command imports decides how fast it starts: torch takes a second, Lightning several."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HEAVY = ("albumentations", "pytorch_lightning", "torch", "torchmetrics", "wandb")
RUN = """
import runpy, sys
try:
    runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code, end.code
print("imported:", *[name for name in {heavy!r} if name in sys.modules])
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("images", "labels", "probs"):
        (tmp_path / name).mkdir()
    for number in range(3):
        Image.fromarray(rng.integers(0, 256, (9, 8, 3)).astype(np.uint8)).save(tmp_path / "images" / f"p{number}.png")
        Image.fromarray(rng.integers(0, 3, (9, 8)).astype(np.uint8)).save(tmp_path / "labels" / f"p{number}.png")
        np.savez(tmp_path / "probs" / f"p{number}.npz", logits=rng.normal(0, 1, (3, 9, 8)))
    return tmp_path


def imported(code: str, *arguments: str, cwd: Path) -> set[str]:
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=cwd, capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("imported:")[2].split())


def test_refining_files_needs_none_of_the_heavy_libraries(folder: Path) -> None:
    pytest.importorskip("deeplab.crf._native")
    code = RUN.format(module="deeplab.refine_scores", heavy=HEAVY)
    assert imported(code, "images=images", "probs=probs", "output=out", "crf.workers=1", cwd=folder) == set()
    assert len(list((folder / "out").glob("*.png"))) == 3


def test_searching_on_files_needs_none_of_the_heavy_libraries(folder: Path) -> None:
    pytest.importorskip("deeplab.crf._native")
    code = RUN.format(module="deeplab.search_crf", heavy=HEAVY)
    small = ["search.num_pictures=2", "search.refine_rounds=0", "search.processes=1", "search.bootstrap=10"]
    small += [f"search.coarse.bilateral_{key}=[3]" for key in ("weight", "xy_std", "rgb_std")]
    places = ["images=images", "labels=labels", "probs=probs", "output=out"]
    assert imported(code, *places, *small, cwd=folder) == set()
    assert (folder / "out" / "search.json").is_file()


@pytest.mark.parametrize(
    "module", ["deeplab.config.from_checkpoint", "deeplab.predict_files", "deeplab.search_network"]
)
def test_predicting_needs_no_lightning(module: str, tmp_path: Path) -> None:
    code = f"import sys, {module}; print('imported:', *[name for name in {HEAVY!r} if name in sys.modules])"
    assert imported(code, cwd=tmp_path) <= {"torch"}
