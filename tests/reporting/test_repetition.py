from pathlib import Path
from typing import Any

import pytest

from deeplab.errors import InputError
from deeplab.reporting.repetition import config_differences, what_differs
from deeplab.reporting.run_files import write_json

CONFIG = {"seed": 0, "optim": {"lr": 0.1}, "rerun_of": None}
DATA = {"train": {"pictures": 8, "sha256": "a"}, "val": {"pictures": 2, "sha256": "b"}}


def run(folder: Path, patch: str = "", packages: Any = None, **facts: Any) -> Path:
    write_json(folder / "run.json", {"state": "finished", "commit": "1", "config": CONFIG, "data": DATA} | facts)
    write_json(folder / "environment.json", {"packages": packages or {"torch": "2"}})
    if patch:
        (folder / "code.patch").write_text(patch)
    return folder


def test_a_run_that_is_repeated_as_it_was(tmp_path: Path) -> None:
    again = run(tmp_path / "b", "diff", config=CONFIG | {"rerun_of": "a"})
    assert what_differs(run(tmp_path / "a", "diff"), again) == []


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"commit": "2"}, ("another commit", "1 then, 2 now")),
        ({"patch": "diff"}, ("Uncommitted changes", "code.patch")),
        ({"packages": {"torch": "3"}}, ("environment", "torch 2 then, 3 now")),
        ({"data": DATA | {"val": {"pictures": 3, "sha256": "c"}}}, ("data.val_split", "2 pictures then, 3 now")),
        ({"config": CONFIG | {"optim": {"lr": 0.2}}}, ("configuration", "optim.lr 0.1 then, 0.2 now")),
    ],
)
def test_each_difference_has_a_sentence(changes: dict[str, Any], parts: tuple[str, ...], tmp_path: Path) -> None:
    [sentence] = what_differs(run(tmp_path / "a"), run(tmp_path / "b", **changes))
    assert all(part in sentence for part in parts)


def test_what_was_not_recorded_is_said(tmp_path: Path) -> None:
    (run(tmp_path / "a") / "environment.json").unlink()
    [sentence] = what_differs(tmp_path / "a", run(tmp_path / "b"))
    assert "not recorded" in sentence
    with pytest.raises(InputError, match=r"run\.json"):
        what_differs(tmp_path / "none", tmp_path / "b")


def test_configurations_are_compared_value_by_value() -> None:
    before = {"a": {"b": 1, "c": [1, 2]}, "d": {"x": 1}}
    now = {"a": {"b": 1, "c": [1, 3]}, "d": None, "e": 5}
    assert list(config_differences(before, now)) == [
        ("a.c", [1, 2], [1, 3]),
        ("d", {"x": 1}, None),
        ("e", "absent", 5),
    ]
