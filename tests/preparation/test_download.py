"""Downloads from a server that breaks off, lies, or sends something else."""

import errno
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from rich.console import Console

from deeplab.errors import InputError
from deeplab.preparation import download as module
from deeplab.preparation.download import download

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


@pytest.fixture
def target(tmp_path: Path, shop: Any) -> Path:
    shop.files["a.tar"] = CONTENT
    return tmp_path / "Ordner ü" / "a.tar"


def fetch(shop: Any, target: Path, quiet: Console, **options: Any) -> module.Received:
    return download(f"{shop.address}/a.tar", target, console=quiet, **{"pause": 0.0, "attempts": 3, **options})


def names(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()}


def test_a_file_and_what_was_seen_of_it(shop: Any, target: Path, quiet: Console) -> None:
    received = fetch(shop, target, quiet, checksum=MD5)
    assert target.read_bytes() == CONTENT
    assert received.sha256 == hashlib.sha256(CONTENT).hexdigest() and received.published_checksum == MD5
    assert json.loads((target.parent / "a.tar.json").read_text())["sha256"] == received.sha256
    assert names(target) == {"a.tar", "a.tar.json"}


def test_it_goes_on_where_it_broke_off(shop: Any, target: Path, quiet: Console) -> None:
    shop.break_after = [131072, 65536]
    fetch(shop, target, quiet, checksum=MD5)
    assert shop.asked == [None, "bytes=131072-", "bytes=196608-"]
    assert target.read_bytes() == CONTENT


def test_a_later_run_goes_on_too(shop: Any, target: Path, quiet: Console) -> None:
    shop.break_after = [65536]
    with pytest.raises(InputError, match=r"broke off 1 times, with 65536 bytes.*run the command again"):
        fetch(shop, target, quiet, attempts=1)
    assert not target.exists()
    fetch(shop, target, quiet)
    assert shop.asked[-1] == "bytes=65536-" and target.read_bytes() == CONTENT


@pytest.mark.parametrize("change", ["etag", "no ranges"])
def test_another_version_is_fetched_from_its_beginning(shop: Any, target: Path, quiet: Console, change: str) -> None:
    shop.break_after = [65536]
    with pytest.raises(InputError):
        fetch(shop, target, quiet, attempts=1)
    if change == "etag":
        shop.etag, shop.files["a.tar"] = '"two"', CONTENT[::-1]
    else:
        shop.ranges = False
    fetch(shop, target, quiet)
    assert target.read_bytes() == shop.files["a.tar"]


def test_a_part_longer_than_the_file_is_dropped(shop: Any, target: Path, quiet: Console) -> None:
    shop.break_after = [65536]
    with pytest.raises(InputError):
        fetch(shop, target, quiet, attempts=1)
    shop.files["a.tar"] = CONTENT[:65536]
    fetch(shop, target, quiet)
    assert target.read_bytes() == CONTENT[:65536]


def test_a_busy_server_is_asked_again(shop: Any, target: Path, quiet: Console) -> None:
    shop.status = [503, 429]
    fetch(shop, target, quiet)
    assert target.read_bytes() == CONTENT


def test_garbage_is_refused_by_its_checksum_and_removed(shop: Any, target: Path, quiet: Console) -> None:
    shop.files["a.tar"] = CONTENT[::-1]
    with pytest.raises(InputError, match=r"another checksum than md5:.*deleted"):
        fetch(shop, target, quiet, checksum=MD5)
    assert names(target) == set()


def test_a_web_page_is_no_archive(shop: Any, target: Path, quiet: Console) -> None:
    shop.kind = "text/html; charset=utf-8"
    with pytest.raises(InputError, match=r"web page.*place it at"):
        fetch(shop, target, quiet)
    assert names(target) == set()


def test_a_missing_file_and_a_missing_server_are_named(shop: Any, target: Path, quiet: Console) -> None:
    with pytest.raises(InputError, match=r"404 Not Found.*place it at"):
        download(f"{shop.address}/b.tar", target, console=quiet)
    with pytest.raises(InputError, match=r"broke off 2 times"):
        download("http://127.0.0.1:1/a.tar", target, attempts=2, pause=0.0, console=quiet)


class Usage(NamedTuple):
    free: int


def test_a_full_disk_is_known_beforehand(
    shop: Any, target: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: Usage(1000))
    with pytest.raises(InputError, match=r"Cannot write .*300000 bytes are wanted, 1000 are free"):
        fetch(shop, target, quiet)
    monkeypatch.undo()
    fetch(shop, target, quiet)
    assert target.read_bytes() == CONTENT


def test_a_disk_that_fills_up_leaves_what_a_second_run_can_use(
    shop: Any, target: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module._receive

    def half(answer: Any, part: Any, *rest: Any) -> None:
        with part.path.open("ab") as file:
            file.write(next(answer.iter_content(1234)))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_receive", half)
    with pytest.raises(InputError, match=r"Cannot write .*a\.tar: No space left"):
        fetch(shop, target, quiet)
    assert not target.exists()
    monkeypatch.setattr(module, "_receive", real)
    fetch(shop, target, quiet, checksum=MD5)
    assert shop.asked[-1] == "bytes=1234-" and target.read_bytes() == CONTENT


def test_no_place_at_all(shop: Any, tmp_path: Path, quiet: Console) -> None:
    (tmp_path / "file").write_text("")
    shop.files["a.tar"] = CONTENT
    with pytest.raises(InputError, match="Cannot write"):
        fetch(shop, tmp_path / "file" / "a.tar", quiet)
