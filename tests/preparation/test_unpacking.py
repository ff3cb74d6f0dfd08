"""Archives that are whole, broken, or mean harm."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from rich.console import Console

from deeplab.errors import InputError
from deeplab.preparation import unpacking
from deeplab.preparation.unpacking import unfinished, unpack

FILES = {
    "VOCdevkit/VOC2012/a.txt": b"a" * 5000,
    "VOCdevkit/VOC2012/deep/ü ä.txt": np.random.default_rng(0).bytes(200_000),
    "VOCdevkit/._a.txt": b"of macOS",
    "__MACOSX/x": b"of macOS",
}
KEPT = {"VOC2012/a.txt", "VOC2012/deep/ü ä.txt"}

Pack = Callable[[Path, dict[str, bytes]], Path]


def pack_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def pack_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def pack(path: Path, files: dict[str, bytes]) -> Path:
    return (pack_zip if path.suffix == ".zip" else pack_tar)(path, files)


def below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


kinds = pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz"])


@kinds
def test_files_lie_where_they_belong(tmp_path: Path, quiet: Console, name: str) -> None:
    archive, target = pack(tmp_path / name, FILES), tmp_path / "root"
    assert unpack(archive, target, "VOCdevkit", quiet) == 2
    assert below(target) == KEPT
    assert (target / "VOC2012/a.txt").read_bytes() == FILES["VOCdevkit/VOC2012/a.txt"]


@kinds
def test_what_was_there_stays_unless_it_is_in_the_archive(tmp_path: Path, quiet: Console, name: str) -> None:
    archive, target = pack(tmp_path / name, FILES), tmp_path / "root"
    (target / "VOC2012").mkdir(parents=True)
    (target / "VOC2012/own.txt").write_text("mine")
    (target / "VOC2012/a.txt").write_text("old")
    unpack(archive, target, "VOCdevkit", quiet)
    assert below(target) == KEPT | {"VOC2012/own.txt"}
    assert (target / "VOC2012/a.txt").read_bytes() == b"a" * 5000


@kinds
@pytest.mark.parametrize("entry", ["../out.txt", "a/../../out.txt", "/tmp/out.txt", "..\\out.txt"])
def test_a_path_that_leads_out_is_refused_whole(tmp_path: Path, quiet: Console, name: str, entry: str) -> None:
    archive, target = pack(tmp_path / name, {"good.txt": b"x", entry: b"evil"}), tmp_path / "root"
    with pytest.raises(InputError, match="leads out of the folder; nothing was unpacked"):
        unpack(archive, target, "", quiet)
    assert below(target) == set()
    assert below(tmp_path) == {name}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, quiet: Console, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(InputError, match="link is a link or a device"):
        unpack(tmp_path / "a.tar", tmp_path / "root", "", quiet)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = 0o120777 << 16
        packed.writestr(entry, "/etc/passwd")
    with pytest.raises(InputError, match="link is a link or a device"):
        unpack(tmp_path / "a.zip", tmp_path / "root", "", quiet)


@kinds
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_an_archive_that_breaks_off_leaves_nothing(tmp_path: Path, quiet: Console, name: str, share: float) -> None:
    archive, target = pack(tmp_path / name, FILES), tmp_path / "root"
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"no zip or tar file, or it breaks off|cannot be read|damaged|is empty"):
        unpack(archive, target, "VOCdevkit", quiet)
    assert below(target) == set() and not unfinished(name, target).exists()
    archive.write_bytes(whole)
    unpack(archive, target, "VOCdevkit", quiet)
    assert below(target) == KEPT


@kinds
def test_damaged_bytes_are_found(tmp_path: Path, quiet: Console, name: str) -> None:
    if name == "a.tar":
        pytest.skip("plain tar files have no checksum of their contents")
    archive = pack(tmp_path / name, FILES)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0xFF
    archive.write_bytes(bytes(content))
    with pytest.raises(InputError, match="get the file again"):
        unpack(archive, tmp_path / "root", "", quiet)
    assert below(tmp_path / "root") == set()


def test_garbage_and_absence_are_named(tmp_path: Path, quiet: Console) -> None:
    (tmp_path / "a.zip").write_bytes(b"<html>Not found</html>")
    with pytest.raises(InputError, match=r"a\.zip: this is no zip or tar file"):
        unpack(tmp_path / "a.zip", tmp_path / "root", "", quiet)
    with pytest.raises(InputError, match=r"b\.zip: there is no such file"):
        unpack(tmp_path / "b.zip", tmp_path / "root", "", quiet)


def test_a_kill_leaves_a_mark_and_the_next_run_repairs(tmp_path: Path, quiet: Console) -> None:
    archive, target = pack(tmp_path / "a.zip", FILES), tmp_path / "root"
    half = unfinished("a.zip", target)
    half.mkdir(parents=True)
    (half / "old").write_text("of the run that was killed")
    unpack(archive, target, "VOCdevkit", quiet)
    assert below(target) == KEPT and not half.exists()


def test_a_merge_that_stops_leaves_the_mark(tmp_path: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, target = pack(tmp_path / "a.zip", FILES), tmp_path / "root"
    (target / "VOC2012").mkdir(parents=True)
    monkeypatch.setattr(Path, "replace", _full)
    with pytest.raises(InputError, match="Cannot write"):
        unpack(archive, target, "VOCdevkit", quiet)
    assert unfinished("a.zip", target).exists()
    monkeypatch.undo()
    unpack(archive, target, "VOCdevkit", quiet)
    assert below(target) == KEPT


def _full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


class Usage(NamedTuple):
    free: int


def test_a_zip_that_does_not_fit_is_refused_before(
    tmp_path: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(tmp_path / "a.zip", FILES)
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda _: Usage(1000))
    with pytest.raises(InputError, match="1000 are free"):
        unpack(archive, tmp_path / "root", "", quiet)


def test_a_disk_that_fills_up(tmp_path: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = pack(tmp_path / "a.tar", FILES)
    real = Path.open

    def opened(self: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        return real(Path("/dev/full"), "wb") if mode == "xb" else real(self, mode, *rest, **more)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(InputError, match="No space left"):
        unpack(archive, tmp_path / "root", "", quiet)
    monkeypatch.undo()
    assert below(tmp_path / "root") == set()


def test_two_entries_of_one_name_are_refused(tmp_path: Path, quiet: Console) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("twice"))
    with pytest.raises(InputError, match="twice: File exists"):
        unpack(tmp_path / "a.tar", tmp_path / "root", "", quiet)
