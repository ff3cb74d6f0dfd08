"""What a run ran on and in: packages, machine, and the code's difference from its commit as a patch."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from deeplab.reporting import environment as module
from deeplab.reporting.environment import code_patch, differences, environment


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_packages_machine_and_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    found = environment()
    assert found["packages"]["numpy"] == np.__version__
    assert {"torch", "deeplab"} <= set(found["packages"])
    assert found["hardware"]["cores"] == len(os.sched_getaffinity(0))
    assert found["hardware"]["threads"] >= 1  # torch is imported here
    assert found["variables"]["OMP_NUM_THREADS"] == "1"
    assert "hidden" not in str(found)


def test_differences_are_named_one_by_one() -> None:
    before = {"python": "3.11.1", "packages": {"a": "1", "b": "2"}, "hardware": {"host": "x", "cores": 2}}
    now = {"python": "3.11.1", "packages": {"a": "1", "c": "3"}, "hardware": {"host": "y", "cores": 4}}
    assert differences(before, before) == []
    assert differences(before, now) == [
        "b 2 then, absent now",
        "c absent then, 3 now",
        "cores 2 then, 4 now",
    ]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in {"src/code.py": "one = 1\n", "conf/a.yaml": "a: 1\n", "notes.txt": "n\n"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    monkeypatch.setattr(module, "CODE", tmp_path / "src" / "code.py")
    return tmp_path


def test_the_patch_brings_a_clean_checkout_to_the_code_that_ran(checkout: Path, tmp_path: Path) -> None:
    assert code_patch() == ""
    (checkout / "src" / "code.py").write_text("one = 2\n")
    (checkout / "src" / "new.py").write_text("new = 'Bäume'\n")
    (checkout / "conf" / "a.yaml").unlink()
    (checkout / "secret.env").write_text("token")
    git(checkout, "add", "src/code.py")
    status = git(checkout, "status", "--porcelain")
    patch = code_patch()
    assert patch is not None and "token" not in patch
    assert git(checkout, "status", "--porcelain") == status  # the user's index is as it was
    other = tmp_path / "other"
    git(tmp_path, "clone", "-q", str(checkout), str(other))
    (tmp_path / "code.patch").write_text(patch, encoding="utf-8")
    git(other, "apply", str(tmp_path / "code.patch"))
    assert (other / "src" / "code.py").read_text() == "one = 2\n"
    assert (other / "src" / "new.py").read_text() == "new = 'Bäume'\n"
    assert not (other / "conf" / "a.yaml").exists()


def test_without_a_checkout_there_is_no_patch(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "src" / "stranger.py").write_text("1")
    monkeypatch.setattr(module, "CODE", checkout / "src" / "stranger.py")  # in somebody else's repository
    assert code_patch() is None
    monkeypatch.setenv("PATH", str(checkout))
    assert code_patch() is None  # no git
