import json
from pathlib import Path
from typing import Any

import pytest

from deeplab.training.run_record import RunRecord


def read(folder: Path) -> Any:
    return json.loads((folder / "run.json").read_text())


def test_a_run_is_running_and_then_finished(tmp_path: Path) -> None:
    with RunRecord(tmp_path, name="demo", seed=3) as record:
        facts = read(tmp_path)
        assert (facts["state"], facts["name"], facts["seed"]) == ("running", "demo", 3)
        assert facts["images_per_second"] is None and facts["peak_memory"] is None
        record.update(images_per_second=12.5, peak_memory=10**9)
        assert read(tmp_path)["state"] == "running"
    facts = read(tmp_path)
    assert (facts["state"], facts["images_per_second"], facts["peak_memory"]) == ("finished", 12.5, 10**9)
    assert facts["device"] and "commit" in facts
    assert facts["seconds"] >= 0


def test_a_failure_is_recorded_and_goes_on(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="first line"), RunRecord(tmp_path):
        raise ValueError("first line\nsecond line")
    facts = read(tmp_path)
    assert (facts["state"], facts["error"]) == ("failed", "first line")
    with pytest.raises(KeyboardInterrupt), RunRecord(tmp_path):
        raise KeyboardInterrupt
    assert (read(tmp_path)["state"], read(tmp_path)["error"]) == ("preempted", "Stopped by Ctrl-C.")


def test_ctrl_c_while_the_record_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deeplab.training.run_record._write_surroundings", stopped)
    with pytest.raises(KeyboardInterrupt), RunRecord(tmp_path):
        raise AssertionError("it begins all the same")
    assert read(tmp_path)["state"] == "preempted"


@pytest.mark.parametrize("variable", ["LOCAL_RANK", "NODE_RANK"])
def test_only_the_first_rank_writes(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    with RunRecord(tmp_path):
        pass
    assert not (tmp_path / "run.json").exists()
