"""Masks written in parallel: whole or not at all, and a disk that takes no more stops everything."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from deeplab.data.palette import voc_palette
from deeplab.errors import InputError
from deeplab.preparation.masks import MaskJob, MaskWriter
from deeplab.preparation.prepare import _alone
from deeplab.preparation.recipe import files, write_list


def convert(source: int) -> np.ndarray:
    if source < 0:
        raise InputError(f"source {source}: bad.")
    return np.full((5, 7), source % 256, dtype=np.uint8)


def jobs(root: Path, *sources: int) -> list[MaskJob]:
    return [MaskJob(root / "Größe" / f"{number}.png", source) for number, source in enumerate(sources)]


def writer(quiet: Console, **options: Any) -> MaskWriter:
    return MaskWriter(voc_palette(), console=quiet, **{"workers": 1, **options})


def test_many_processes_write_the_same_as_one(tmp_path: Path, quiet: Console) -> None:
    for workers, name in ((1, "one"), (3, "three")):
        writer(quiet, workers=workers).write(convert, jobs(tmp_path / name, *range(50)), "masks")
    one, three = (sorted((tmp_path / name).rglob("*.png")) for name in ("one", "three"))
    assert len(one) == 50 and [path.read_bytes() for path in one] == [path.read_bytes() for path in three]


def test_overwrite_makes_them_again(tmp_path: Path, quiet: Console) -> None:
    writer(quiet).write(convert, jobs(tmp_path, 1, 2), "masks")
    assert writer(quiet).write(convert, jobs(tmp_path, 3, 4), "masks") == "masks: 0 masks written, 2 were there."
    writer(quiet, overwrite=True).write(convert, jobs(tmp_path, 3, 4), "masks")
    assert np.asarray(Image.open(tmp_path / "Größe/0.png")).max() == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_sources_are_counted_and_the_rest_is_done(tmp_path: Path, quiet: Console, workers: int) -> None:
    todo = jobs(tmp_path, *range(20), -1, *range(20), -2)
    with pytest.raises(InputError, match=r"^2 of 42 masks could not be made .*: source -1: bad\.$"):
        writer(quiet, workers=workers).write(convert, todo, "masks")
    assert sum(job.target.exists() for job in todo) == 40


def test_a_full_disk_stops_everything_and_a_second_run_repairs(
    tmp_path: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Image.Image.save

    def half(self: Image.Image, file: Any, *rest: Any, **more: Any) -> None:
        if self.getpixel((0, 0)) == 2:
            file.write(b"half a file")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, file, *rest, **more)

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(InputError, match=r"Cannot write .*1\.png: No space left on device; free or choose"):
        writer(quiet).write(convert, jobs(tmp_path, 1, 2, 3), "masks")
    assert [path.name for path in (tmp_path / "Größe").iterdir()] == ["0.png"]
    monkeypatch.undo()
    assert "2 masks written, 1 were there" in writer(quiet).write(convert, jobs(tmp_path, 1, 2, 3), "masks")


def test_a_place_that_cannot_be_written(tmp_path: Path, quiet: Console) -> None:
    (tmp_path / "Größe").write_text("a file")
    with pytest.raises(InputError, match="Cannot write"):
        writer(quiet).write(convert, jobs(tmp_path, 1), "masks")
    with pytest.raises(InputError, match="cannot be written"), _alone(tmp_path / "Größe" / "root"):
        pass


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with _alone(tmp_path), pytest.raises(InputError, match="another process prepares it"), _alone(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_annotations_that_make_no_mask_are_left_out(tmp_path: Path, quiet: Console) -> None:
    todo = jobs(tmp_path, 1, 2)
    assert writer(quiet).write(_for_even, todo, "masks") == "masks: 1 masks written, 0 were there."
    assert [job.target.exists() for job in todo] == [False, True]


def _for_even(source: int) -> np.ndarray | None:
    return None if source % 2 else convert(source)


def test_two_files_of_one_name_are_told(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.mat").touch()
    with pytest.raises(InputError, match=r"b/x\.mat: .*a/x\.mat has the same name; leave one"):
        files(tmp_path, "*.mat")


def test_a_list_without_pictures_is_left_to_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    assert "no picture of it has an annotation" in write_list(path, [], overwrite=False)
    assert not path.exists()
    assert write_list(path, ["a"], overwrite=False) == "train.txt: 1 pictures."
