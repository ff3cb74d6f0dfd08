"""Checkpoint files: whole or not at all, the last two kept, damage found, a full disk survived."""

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.errors import InputError
from deeplab.models.checkpoint_file import damage
from deeplab.training.checkpoint_writing import WholeFiles, remove_parts
from deeplab.training.checkpoints import newest_checkpoint


def step_of(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["step"])


def write(files: WholeFiles, folder: Path, step: int) -> None:
    files.save_checkpoint({"step": step, "weight": torch.full((3, 40), float(step))}, folder / "last.ckpt")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Any:
    """disk["full"] = True makes every write end in the middle, as torch.save ends on a full disk."""
    state, save = {"full": False}, torch.save

    def saved(content: Any, file: Any) -> None:
        if not state["full"]:
            save(content, file)
            return
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            file.write(b"half")
            raise RuntimeError("[enforce fail at inline_container.cc] unexpected pos")  # noqa: B904 - as torch does

    monkeypatch.setattr(torch, "save", saved)
    return state


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    files = WholeFiles()
    for step in (1, 2, 3):
        write(files, tmp_path, step)
    files.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]
    assert (step_of(tmp_path / "last.ckpt"), step_of(tmp_path / "previous.ckpt")) == (3, 2)


def test_a_damaged_one_is_not_kept_instead_of_the_one_before_it(tmp_path: Path) -> None:
    files = WholeFiles()
    write(files, tmp_path, 1)
    write(files, tmp_path, 2)
    files.finish()
    (tmp_path / "last.ckpt").write_bytes(b"damaged")
    files = WholeFiles(keep_replaced=False)
    write(files, tmp_path, 3)
    files.finish()
    assert (step_of(tmp_path / "last.ckpt"), step_of(tmp_path / "previous.ckpt")) == (3, 1)


def test_what_is_written_is_the_state_when_it_was_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_write, save = threading.Event(), torch.save

    def waits(content: Any, file: Any) -> None:
        assert may_write.wait(20)
        save(content, file)

    monkeypatch.setattr(torch, "save", waits)
    weight, nested = torch.zeros(3), {"list": [torch.zeros(2)], "count": 1}
    files = WholeFiles()
    files.save_checkpoint({"weight": weight, "nested": nested}, tmp_path / "last.ckpt")
    weight += 1
    nested["list"][0] += 1  # type: ignore[index]
    nested["count"] = 2
    assert not (tmp_path / "last.ckpt").exists()
    may_write.set()
    files.finish()
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert content["weight"].tolist() == [0, 0, 0]
    assert (content["nested"]["list"][0].tolist(), content["nested"]["count"]) == ([0, 0], 1)


def test_a_full_disk_stops_the_run_at_its_next_step(tmp_path: Path, disk: Any) -> None:
    files = WholeFiles()
    write(files, tmp_path, 1)
    files.finish()
    disk["full"] = True
    write(files, tmp_path, 2)
    files.teardown()
    with pytest.raises(InputError, match=r"last\.ckpt: the checkpoint cannot be written \(No space left"):
        files.check()
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    assert step_of(tmp_path / "last.ckpt") == 1


def test_a_full_disk_that_is_gone_on_with(tmp_path: Path, disk: Any, caplog: pytest.LogCaptureFixture) -> None:
    files = WholeFiles(stops=False)
    write(files, tmp_path, 1)
    files.finish()
    disk["full"] = True
    files.save_checkpoint({"step": 2}, tmp_path / "best.ckpt")
    write(files, tmp_path, 2)
    files.teardown()
    files.check()
    assert "No space left" in caplog.text and "will try again" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    with pytest.raises(InputError, match="No space left"):
        files.finish()
    disk["full"] = False
    write(files, tmp_path, 3)
    files.finish()
    assert [step_of(tmp_path / name) for name in ("best.ckpt", "last.ckpt", "previous.ckpt")] == [2, 3, 1]


def test_a_fault_in_the_background_is_not_lost(tmp_path: Path) -> None:
    files = WholeFiles()
    files.save_checkpoint({"code": threading.Event}, tmp_path / "a.ckpt")
    files.save_checkpoint({"lambda": _unpicklable}, tmp_path / "b.ckpt")
    with pytest.raises(Exception, match="pickle"):
        files.finish()


def _unpicklable() -> None: ...


_unpicklable.__qualname__ = "nowhere.<locals>"


def test_half_written_files_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".last.ckpt.part").write_bytes(b"half")
    (tmp_path / "last.ckpt").write_bytes(b"whole")
    remove_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("file") / "a.ckpt"
    torch.save({"weight": torch.arange(100.0), "step": 3, "names": ["a", "b"]}, path)
    return path.read_bytes()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_found_or_harms_nothing(data: st.DataObject, content: bytes) -> None:
    place = data.draw(st.integers(0, len(content) - 1))
    flipped = bytearray(content)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"flipped_{os.getpid()}.ckpt"
    path.write_bytes(flipped)
    try:
        if damage(path) is None:
            try:
                loaded = torch.load(path, weights_only=True)
            except Exception:
                return
            assert loaded["weight"].tolist() == list(range(100))
            assert (loaded["step"], loaded["names"]) == (3, ["a", "b"])
    finally:
        path.unlink()


@given(share=st.floats(0, 0.999))
@settings(max_examples=50, deadline=None)
def test_a_file_cut_off_is_found(share: float, content: bytes) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"cut_{os.getpid()}.ckpt"
    path.write_bytes(content[: int(share * len(content))])
    try:
        assert damage(path) is not None
    finally:
        path.unlink()


def test_a_sound_file_has_no_damage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ckpt").write_bytes(content)
    assert damage(tmp_path / "a.ckpt") is None
    assert damage(tmp_path / "nowhere.ckpt") is not None


def test_the_newest_sound_checkpoint(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    assert newest_checkpoint(tmp_path) is None
    previous.write_bytes(content)
    assert newest_checkpoint(tmp_path) == previous
    last.write_bytes(content)
    assert newest_checkpoint(tmp_path) == last
    assert caplog.text == ""
    last.write_bytes(content[:-100])
    assert newest_checkpoint(tmp_path) == previous
    assert f"{last} is damaged" in caplog.text and "previous.ckpt" in caplog.text
    previous.write_bytes(b"")
    with pytest.raises(InputError, match=r"last\.ckpt is damaged .* and .*previous\.ckpt is damaged"):
        newest_checkpoint(tmp_path)
