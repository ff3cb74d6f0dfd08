"""Originals on disk, in archives on disk, and on servers."""

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deeplab.errors import InputError
from deeplab.preparation import originals
from deeplab.preparation.originals import Original
from deeplab.preparation.prepare import recipe
from deeplab.preparation.recipe import Kitchen
from deeplab.preparation.unpacking import unfinished

Make = Callable[..., Kitchen]
THING = Original("the thing", ("thing/data",), "thing.zip", "somebody/somewhere: README.md", strip="top")
ALL = [each for each in vars(originals).values() if isinstance(each, Original)]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "on disk" / "thing.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("top/thing/data/x.txt", "x")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def test_what_is_there_is_taken(root: Path, kitchen: Make) -> None:
    (root / "thing/data").mkdir(parents=True)
    assert kitchen(root).need(THING) == root / "thing/data"


def test_an_archive_on_disk(root: Path, archive: Path, kitchen: Make) -> None:
    assert (kitchen(root, (archive,)).need(THING) / "x.txt").read_text() == "x"
    assert archive.exists()


@pytest.mark.parametrize("place", ["", "downloads"])
def test_an_archive_in_the_root_is_found(root: Path, archive: Path, kitchen: Make, place: str) -> None:
    (root / place).mkdir(parents=True)
    archive.rename(root / place / "thing.zip")
    assert (kitchen(root).need(THING) / "x.txt").exists()


def test_half_unpacked_does_not_pass_for_whole(root: Path, archive: Path, kitchen: Make) -> None:
    (root / "thing/data").mkdir(parents=True)
    unfinished("thing.zip", root).mkdir()
    assert (kitchen(root, (archive,)).need(THING) / "x.txt").exists()
    assert not unfinished("thing.zip", root).exists()


def test_download_from_the_owner_or_a_mirror(
    root: Path, archive: Path, kitchen: Make, shop: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shop.files["thing.zip"] = archive.read_bytes()
    caplog.set_level("INFO")
    owner = replace(THING, url=f"{shop.address}/thing.zip")
    assert (kitchen(root, may_download=True).need(owner) / "x.txt").exists()
    assert hashlib.sha256(archive.read_bytes()).hexdigest() in caplog.text
    assert (root / "downloads/thing.zip").exists()
    other = replace(THING, url="http://127.0.0.1:1/thing.zip")
    assert kitchen(tmp_path / "b", may_download=True, mirror=f"{shop.address}/").need(other)


def test_a_second_run_asks_for_nothing(root: Path, archive: Path, kitchen: Make, shop: Any) -> None:
    shop.files["thing.zip"] = archive.read_bytes()
    for _ in range(2):
        kitchen(root, may_download=True, mirror=shop.address).need(THING)
    assert len(shop.asked) == 1


def test_a_wrong_checksum_on_disk_is_refused(root: Path, archive: Path, kitchen: Make) -> None:
    with pytest.raises(InputError, match=r"thing\.zip: its checksum is not md5:00, which is published"):
        kitchen(root, (archive,)).need(replace(THING, checksum="md5:00"))


def test_another_archive_under_the_name(root: Path, archive: Path, kitchen: Make) -> None:
    with pytest.raises(InputError, match=r"thing/other is not in it, so this is not the thing"):
        kitchen(root, (archive,)).need(replace(THING, present=("thing/other",)))


def test_what_is_nowhere_is_named(root: Path, kitchen: Make) -> None:
    with pytest.raises(InputError, match=r"the thing is not there; its owners want a login.*archives=\[FILE\]"):
        kitchen(root, may_download=True).need(THING)
    with pytest.raises(InputError, match=r"offered at http://x/y.*download=true"):
        kitchen(root).need(replace(THING, url="http://x/y"))


def test_what_masks_do_not_need_is_only_missed(root: Path, kitchen: Make, caplog: pytest.LogCaptureFixture) -> None:
    assert kitchen(root).obtain(replace(THING, required=False)) is None
    assert "the thing is not there" in caplog.text


def test_archives_that_do_not_belong_are_refused(root: Path, archive: Path, kitchen: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"thing\.zip is none of .*benchmark\.tgz"):
        kitchen(root, (archive,)).obtain.check_archives(recipe("voc12_aug", []).originals)
    with pytest.raises(InputError, match="there is no file"):
        kitchen(root, (tmp_path / "nothing.zip",))


@pytest.mark.parametrize("original", ALL, ids=lambda each: each.archive)
def test_every_address_names_the_file_it_was_read_in(original: Original) -> None:
    assert ("/" in original.source and ":" in original.source) or "issue" in original.source
    assert original.url is None or original.url.endswith(f"/{original.archive}")
    if original.checksum is not None:
        algorithm, _, value = original.checksum.partition(":")
        assert len(value) == 2 * hashlib.new(algorithm).digest_size
