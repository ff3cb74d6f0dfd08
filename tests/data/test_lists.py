"""Lists of pictures, and the share held out of them."""

from pathlib import Path

import numpy as np
import pytest

from deeplab.data.lists import hold_out, is_list_file, read_list, without_suffix
from deeplab.errors import InputError


def written(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "list.txt"
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize("content", ["a\nb\n", "a\nb", "\n a \n\nb\n\n", "\ufeffa\r\nb\r\n"])
def test_ids_however_the_lines_end(tmp_path: Path, content: str) -> None:
    assert [(e.picture, e.mask) for e in read_list(written(tmp_path, content))] == [("a", None), ("b", None)]


@pytest.mark.parametrize(
    ("line", "picture", "mask"),
    [
        ("/JPEGImages/x.jpg /SegmentationClassAug/x.png", "JPEGImages/x.jpg", "SegmentationClassAug/x.png"),
        ("images/a b.JPG\tmasks/a b.png", "images/a b.JPG", "masks/a b.png"),
        ("2007_000032", "2007_000032", None),
        ("city/my photo", "city/my photo", None),
        ("city/photo.png", "city/photo.png", None),
    ],
)
def test_both_forms_of_lines(tmp_path: Path, line: str, picture: str, mask: str | None) -> None:
    [entry] = read_list(written(tmp_path, line))
    assert (entry.picture, entry.mask) == (picture, mask)
    assert entry.where.endswith("list.txt, line 1")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "names no picture"),
        ("\n \n", "names no picture"),
        ("a\nb\na\n", "line 3: a is listed a second time"),
        ("a\n./a\n", "line 2: ./a is listed a second time"),
        ("a\n../../etc/passwd\n", "line 2.*points out of"),
        ("/a/../../x.jpg /m/x.png", "line 1.*points out of"),
    ],
)
def test_lists_that_cannot_be(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_list(written(tmp_path, content))


def test_a_list_that_is_missing_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.txt.*no such list"):
        read_list(tmp_path / "nowhere.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.txt.*UTF-8"):
        read_list(tmp_path / "binary.txt")
    with pytest.raises(InputError, match="cannot be read"):
        read_list(tmp_path)


@pytest.mark.parametrize("line", ["x" * 300, "a/" + "ü" * 130 + ".jpg", "a\0b"])
def test_a_line_that_can_be_no_path(tmp_path: Path, line: str) -> None:
    (tmp_path / "train.txt").write_text(f"a\n{line}\n")
    with pytest.raises(InputError, match=r"train\.txt, line 2: .* can be no path") as caught:
        read_list(tmp_path / "train.txt")
    assert str(caught.value).isprintable()


def test_suffixes_of_pictures_only() -> None:
    assert [without_suffix(p) for p in ("a.jpg", "a.v2.PNG", "a.v2", "b/a")] == ["a", "a.v2", "a.v2", "b/a"]
    assert is_list_file("my/own.txt") and not is_list_file("train")


def test_hold_out_is_the_head_of_a_seeded_permutation_of_the_sorted_ids() -> None:
    ids = [f"{i:03d}" for i in range(50)]
    held = hold_out(ids, 7, seed=3)
    assert held == [ids[i] for i in np.random.default_rng(3).permutation(50)[:7]]
    assert hold_out(ids[::-1], 7, seed=3) == held
    assert hold_out(ids, 12, seed=3)[:7] == held
    assert hold_out(ids, 7, seed=4) != held
    assert hold_out(ids, 0, seed=3) == []


@pytest.mark.parametrize("count", [-1, 5, 6])
def test_hold_out_leaves_something_to_train_on(count: int) -> None:
    with pytest.raises(InputError, match=f"data.hold_out={count}"):
        hold_out(list("abcde"), count, seed=0)
