import subprocess

import numpy as np
import pytest
import torch

import deeplab
from deeplab.errors import InputError
from deeplab.reporting import run_files
from deeplab.reporting.run_files import (
    code_version,
    metrics_document,
    read_json,
    read_per_picture,
    read_run,
    write_json,
    write_per_picture,
)

BEFORE = np.array([[3, 1, 0], [1, 3, 0], [0, 0, 0]])
AFTER = np.array([[4, 0, 0], [1, 3, 0], [0, 0, 0]])


def document(**changes):
    arguments = {
        "class_names": ["sky", "Bäume", "car"],
        "num_images": 2,
        "num_skipped": 1,
        "num_crf_skipped": 0,
        "config": {"data": {"root": "x"}},
        "seconds": 1.5,
    }
    matrices = {"matrix": BEFORE, "matrix_crf": AFTER}
    matrices |= {key: changes.pop(key) for key in list(changes) if key in matrices}
    return metrics_document(**matrices, **(arguments | changes))


def test_metrics_document():
    got = document(matrix=torch.from_numpy(BEFORE))
    assert got["iou"] == {"sky": 3 / 5, "Bäume": 3 / 5, "car": None}
    assert got["iou_crf"] == {"sky": 4 / 5, "Bäume": 3 / 4, "car": None}
    assert got["miou"] == pytest.approx(0.6)
    assert got["miou_crf"] == pytest.approx((4 / 5 + 3 / 4) / 2)
    assert (got["pixel_accuracy"], got["pixel_accuracy_crf"]) == (6 / 8, 7 / 8)
    assert (got["mean_accuracy"], got["mean_accuracy_crf"]) == (6 / 8, 7 / 8)
    assert (got["num_images"], got["num_skipped"], got["num_crf_skipped"], got["seconds"]) == (2, 1, 0, 1.5)
    assert got["config"] == {"data": {"root": "x"}}
    assert got["version"]["deeplab"] == deeplab.__version__
    assert "paper" not in got


def test_without_a_crf_its_scores_are_null_and_the_keys_stay():
    got = document(matrix_crf=None)
    assert {key for key, value in got.items() if value is None} == {
        "split",  # not given here
        "miou_crf",
        "iou_crf",
        "pixel_accuracy_crf",
        "mean_accuracy_crf",
    }
    assert got.keys() == document().keys()


def test_the_papers_numbers_are_carried_along_as_fractions():
    paper = {"table": 3, "row": "ASPP-L", "miou": 0.6896, "miou_crf": None}
    assert document(paper=paper)["paper"] == paper
    with pytest.raises(InputError, match=r"paper.miou_crf=71.57"):
        document(paper=paper | {"miou_crf": 71.57})


@pytest.mark.parametrize("names", [["sky", "tree"], ["sky", "sky", "car"]])
def test_class_names_must_fit(names):
    with pytest.raises(InputError, match=r"data.class_names"):
        document(class_names=names)


def test_json_comes_back_as_it_was_written(tmp_path):
    write_json(tmp_path / "metrics.json", document())
    assert read_json(tmp_path / "metrics.json") == document()
    assert "Bäume" in (tmp_path / "metrics.json").read_text(encoding="utf-8")


def test_nan_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"{", b"[1]", b"\xff\xfe", b"", b"[" * 20_000, b'{"miou": NaN}', b'{"miou": 1e999}']
)
def test_a_damaged_json_file_is_named(tmp_path, content):
    path = tmp_path / "metrics.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"metrics.json"):
        read_json(path)
    with pytest.raises(InputError, match="Cannot read"):
        read_json(tmp_path / "none.json")


def test_run_json(tmp_path):
    write_json(tmp_path / "run.json", {"state": "preempted", "seed": 3})
    assert read_run(tmp_path) == {"state": "preempted", "seed": 3}
    write_json(tmp_path / "run.json", {"state": "sleeping"})
    with pytest.raises(InputError, match="'sleeping'"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="put back a copy of it"):  # an evaluation would not write it
        read_run(tmp_path)


def test_per_picture(tmp_path):
    path = tmp_path / "per_picture.npz"
    matrices = [BEFORE, AFTER]
    write_per_picture(path, ["2007_000033", "Ä b"], matrices, [AFTER, None])
    got = read_per_picture(path)
    assert got.ids == ["2007_000033", "Ä b"]
    assert got.confusion.dtype == np.int32
    np.testing.assert_array_equal(got.confusion, matrices)
    np.testing.assert_array_equal(got.confusion_crf, [AFTER, np.full((3, 3), -1)])
    write_per_picture(path, ["a", "b"], matrices)
    assert read_per_picture(path).confusion_crf is None


def test_per_picture_of_different_lengths_is_refused(tmp_path):
    with pytest.raises(ValueError, match="2 ids"):
        write_per_picture(tmp_path / "a.npz", ["a", "b"], [BEFORE])
    with pytest.raises(ValueError, match="1 ids"):
        write_per_picture(tmp_path / "a.npz", ["a"], [BEFORE], [])
    assert list(tmp_path.iterdir()) == []


def test_damaged_per_picture_files_are_named(tmp_path):
    path = tmp_path / "per_picture.npz"
    with pytest.raises(InputError, match="Cannot read"):
        read_per_picture(path)
    write_per_picture(path, ["a", "b"], [BEFORE, AFTER])
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"per_picture.npz"):
            read_per_picture(path)
    np.savez(path, ids=np.array(["a"]), confusion=np.zeros((2, 3, 3)))
    with pytest.raises(InputError, match="do not fit"):
        read_per_picture(path)
    np.savez(path, ids=np.array(["a"]))
    with pytest.raises(InputError, match="confusion"):
        read_per_picture(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ids": np.array("a")}, "do not fit"),
        ({"ids": np.array([], str), "confusion": np.zeros((0, 3, 3), int)}, "do not fit"),
        ({"confusion": np.zeros((2, 3, 3))}, "something else than counts"),
        ({"confusion": np.full((2, 3, 3), "1")}, "something else than counts"),
        ({"confusion": np.full((2, 3, 3), -1)}, "something else than counts"),
        ({"confusion": np.zeros((2, 3, 3), "datetime64[s]")}, "something else than counts"),
    ],
)
def test_what_are_no_counts_of_pixels_is_refused(changes, sentence, tmp_path):
    path = tmp_path / "per_picture.npz"
    np.savez(path, **({"ids": np.array(["a", "b"]), "confusion": np.zeros((2, 3, 3), int)} | changes))
    with pytest.raises(InputError, match=sentence):
        read_per_picture(path)


def test_an_array_without_its_archive_is_refused(tmp_path):
    path = tmp_path / "per_picture.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros((2, 3, 3), int))
    with pytest.raises(InputError, match="no file of confusion matrices"):
        read_per_picture(path)


def test_an_archive_with_any_wrong_byte_is_read_or_refused(tmp_path):
    path = tmp_path / "per_picture.npz"
    write_per_picture(path, ["a", "b"], [BEFORE, AFTER])
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        try:
            read_per_picture(path)
        except InputError:
            refused += 1
    assert refused > len(whole) / 6


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    result = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return result.stdout.strip()


def test_code_version_names_the_commit_only_of_a_repository_that_tracks_the_code(tmp_path, monkeypatch):
    code = tmp_path / "code.py"
    code.write_text("1")
    monkeypatch.setattr(run_files, "__file__", str(code))
    untracked = {"deeplab": deeplab.__version__, "commit": None, "modified": None}
    assert code_version.__wrapped__() == untracked  # no repository
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "theirs")
    assert code_version.__wrapped__() == untracked  # somebody else's
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-q", "-m", "ours")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert code_version.__wrapped__() == untracked | {"commit": commit, "modified": False}
    code.write_text("2")
    assert code_version.__wrapped__()["modified"] is True
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_version.__wrapped__() == untracked  # no git
