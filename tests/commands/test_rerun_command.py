"""`deeplab rerun`: the same weights again, in a new folder, and a word about everything that differs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

CONFIG = {"config": {"optim": {}}, "config_dirs": [], "choices": {}}
GONE = {"state": "finished", "overrides": ["model/head=gone"], **CONFIG}


def tensors(folder: Path) -> dict[str, Any]:
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert state
    return state


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


@pytest.fixture
def first(run: Any, scenes: tuple[str, ...], tmp_path: Path) -> Path:
    run("train", *scenes, "name='first, [1]'", "optim.lr=0.02", "hydra.run.dir=first").worked()
    return tmp_path / "first"


def the_new_folder(folder: Path) -> Path:
    [new] = [path.parent for path in (folder / "outputs").rglob("run.json")]
    return new


def test_a_run_folder_holds_all_that_it_takes(first: Path) -> None:
    facts = record(first)
    assert facts["config"]["optim"]["lr"] == 0.02
    assert "optim.lr=0.02" in facts["overrides"]
    assert facts["choices"]["model/head"] == "classifier"
    assert facts["seed"] == 0 and facts["cwd"] == str(first.parent)
    assert facts["data"]["train"]["pictures"] == 8
    environment = json.loads((first / "environment.json").read_text())
    assert environment["packages"]["torch"] == facts["torch"]


def test_it_gives_bit_equal_weights_in_a_new_folder(run: Any, first: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in first.rglob("*.ckpt")}
    run("rerun", str(first)).worked()
    new = the_new_folder(tmp_path)
    assert {path: path.read_bytes() for path in first.rglob("*.ckpt")} == before
    old, again = tensors(first), tensors(new)
    assert all(torch.equal(old[name], again[name]) for name in old)
    assert (
        json.loads((new / "metrics.json").read_text())["miou"]
        == json.loads((first / "metrics.json").read_text())["miou"]
    )
    assert record(new)["config"]["rerun_of"] == str(first)
    assert "Nothing differs" in (new / "train.log").read_text()


def test_overrides_are_laid_over_and_named(run: Any, first: Path, tmp_path: Path) -> None:
    run("rerun", "first", "seed=1", "model/head=aspp_s").worked()
    new = the_new_folder(tmp_path)
    assert record(new)["config"]["seed"] == 1
    assert record(new)["choices"]["model/head"] == "aspp_s"
    assert record(new)["config"]["optim"]["lr"] == 0.02
    log = (new / "train.log").read_text()
    assert "seed 0 then, 1 now" in log and "aspp" in log.lower()


def test_recorded_values_beat_todays_configuration_files(run: Any, first: Path, tmp_path: Path) -> None:
    facts = record(first)
    facts["config"]["optim"]["weight_decay"] = 0.123  # as if conf/ had said so at that time
    facts["config"]["optim"]["old_key"] = 1
    facts["config"]["model"]["head"] = {"_target_": "deeplab.models.heads.LargeFOV", "_partial_": True}
    facts["commit"] = "0" * 40
    facts["data"]["train"]["sha256"] = "another"
    (first / "run.json").write_text(json.dumps(facts))
    (first / "code.patch").write_text("another")
    run("rerun", "first", "model/head=classifier").worked()
    new = the_new_folder(tmp_path)
    assert record(new)["config"]["optim"]["weight_decay"] == 0.123
    assert record(new)["config"]["model"]["head"]["_target_"] == "deeplab.models.heads.Classifier"
    log = (new / "train.log").read_text()
    for part in ("0000 then", "Uncommitted changes", "data.train_split", "optim.old_key 1 then, absent now"):
        assert part in log


def test_a_rerun_can_be_repeated_and_starts_from_the_beginning(run: Any, first: Path, tmp_path: Path) -> None:
    facts = record(first)
    facts["overrides"] += ["resume='gone.ckpt'", "rerun_of=x"]
    facts["config"]["resume"] = "gone.ckpt"
    (first / "run.json").write_text(json.dumps(facts))
    run("rerun", "first").worked()
    assert record(the_new_folder(tmp_path))["config"]["resume"] is None


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ("Cannot read", "run.json")),
        ("{", ("run.json", "not valid JSON")),
        ('{"state": "finished"}', ("holds no configuration of deeplab train",)),
        (json.dumps(GONE), ("There is no model/head=gone",)),
    ],
)
def test_folders_that_cannot_be_repeated(content: str | None, parts: tuple[str, ...], run: Any, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    if content is not None:
        (tmp_path / "old" / "run.json").write_text(content)
    result = run("rerun", "old")
    result.refused(*parts)
    assert not (tmp_path / "outputs").exists()
    run("rerun", "nowhere").refused("nowhere", "no such folder")
    run("rerun", "seed=1").refused("no such folder")
