import json
import os
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


def test_a_resumed_run_has_the_cost_of_all_its_processes(tmp_path: Path) -> None:
    with RunRecord(tmp_path) as first:
        first.trained(12.5, 3 * 10**9, steps=500)
    facts = read(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(facts | {"seconds": 100.0}))
    with RunRecord(tmp_path) as second:
        second.go_on()
        second.trained(None, 10**9, steps=500)  # scored alone, nothing was left to train
    facts = read(tmp_path)
    assert 100 <= facts["seconds"] < 160
    assert (facts["images_per_second"], facts["peak_memory"], facts["steps"]) == (12.5, 3 * 10**9, 500)
    with RunRecord(tmp_path) as anew:
        anew.trained(None, None, steps=0)
    assert read(tmp_path)["seconds"] < 60


def test_the_time_of_a_killed_run_is_that_to_its_last_sign_of_life(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    begun = {"state": "running", "started": "2026-01-01T00:00:00+0000", "seconds": 1.0, "seconds_before": 50.0}
    path.write_text(json.dumps(begun))
    os.utime(path, (1767225600 + 200,) * 2)
    with RunRecord(tmp_path) as record:
        record.go_on()
    assert 250 <= read(tmp_path)["seconds"] < 310


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
