"""`logger=wandb`, offline: what it writes, that it asks nobody, and that it is imported only when chosen."""

import csv
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deeplab.errors import InputError
from deeplab.training import wandb_logging
from deeplab.training.wandb_tags import automatic_tags

SCRIPT = Path(__file__).with_name("wandb_run.py")
BLOCK, HEADER = 32768, 7


def records(path: Path) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format after a header of 7 bytes."""
    data, position, parts = path.read_bytes(), HEADER, []
    while position + HEADER <= len(data):
        if BLOCK - position % BLOCK < HEADER:
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + HEADER])
        parts.append(data[position + HEADER : position + HEADER + length])
        position += HEADER + length
        if kind in (1, 4):  # whole, or the last of several
            yield b"".join(parts)
            parts = []


@dataclass
class Recorded:
    """What a run's file holds: settings, configuration, rows, metrics' definitions, summary, artifacts, exit code."""

    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    exit_code: int | None = None


def recorded(folder: Path) -> Recorded:
    """Read back the one offline run below a folder."""
    from wandb.proto.wandb_internal_pb2 import Record

    [path] = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    found = Recorded()
    for each in records(path):
        record = Record.FromString(each)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run = found.run or record.run
            found.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "config":
            found.config |= values(record.config.update)
        elif kind == "history":
            found.rows.append(values(record.history.item))
        elif kind == "metric":
            found.metrics[record.metric.name or record.metric.glob_name] = record.metric
        elif kind == "summary":
            found.summary |= values(record.summary.update)
        elif kind == "request" and record.request.HasField("log_artifact"):
            found.artifacts.append(record.request.log_artifact.artifact)
        elif kind == "artifact":
            found.artifacts.append(record.artifact)
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.fixture
def listener() -> Iterator[tuple[int, list[Any]]]:
    """A proxy that notes who wants to go out, and lets nobody."""
    calls: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                calls.append(connection.recv(200))
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], calls
        server.shutdown(socket.SHUT_RDWR)


def run_case(case: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    home = folder.parent / "home"
    home.mkdir()
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
        **environment,
    }
    command = [sys.executable, str(SCRIPT), case, str(folder)]
    done = subprocess.run(
        command, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "the training ended well" in done.stdout
    return done


@pytest.mark.slow
def test_offline_runs(tmp_path: Path, listener: tuple[int, list[Any]]) -> None:
    port, calls = listener
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), f"http://127.0.0.1:{port}")
    done = run_case("offline", tmp_path / "run", **proxies)
    assert calls == []
    assert "wandb" not in done.stdout
    assert "wandb:" not in done.stderr and "Weights & Biases" not in done.stderr

    found = recorded(tmp_path / "run")
    assert {key: found.config[key] for key in ("name", "optim", "model")} == {
        "name": "test",
        "optim": {"lr": 0.1},
        "model": {"head": {"rates": [6, 12]}},
    }
    assert list(found.run.tags) == ["demo", "aspp_s", "optim.lr=0.1"]
    assert (found.run.run_group, found.run.display_name, found.exit_code) == ("2026-01-02", "test", 0)
    assert recorded(tmp_path / "run" / "second").run.run_id != found.run.run_id

    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        in_csv = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    media = ("_", "val/pictures", "val/classes", "val/confusion")
    scalars = [{key: row[key] for key in row if not key.startswith(media)} for row in found.rows]
    assert [row for row in scalars if len(row) > 1][: len(in_csv)] == in_csv  # the same names and values
    assert {"train/grad_norm", "train/loss_fused", "train/lr/head_weight", "val/miou_crf"} <= set().union(*in_csv)

    assert found.metrics["*"].step_metric == "step"
    assert found.metrics["val/miou"].summary.max and found.metrics["train/loss"].summary.min
    assert found.summary["final/miou_crf"] == 0.625
    check_media(tmp_path / "run", found)


def check_media(run: Path, found: Recorded) -> None:
    panels = [row for row in found.rows if "val/pictures/count" in row]
    assert [row["step"] for row in panels] == [2, 4]
    for panel, kinds in zip(panels, ({"truth", "prediction", "after the CRF"}, {"truth", "prediction"}), strict=True):
        assert panel["val/pictures/captions"] == ["picture_0", "picture_1"]
        assert [set(masks) for masks in panel["val/pictures/all_masks"]] == [kinds] * 2
    [folder] = (run / "wandb").glob("offline-run-*")
    assert len(list(folder.glob("files/media/images/mask/val/*.png"))) == 10
    labels = found.config["_wandb"]["mask/class_labels"]["val/pictures_wandb_delimeter_truth"]["value"]
    assert labels["1"] == "ball" and labels["255"] == "void"

    tables = [row for row in found.rows if "val/classes/path" in row]
    assert [row["step"] for row in tables] == [2, 4]
    first = json.loads((folder / "files" / tables[0]["val/classes/path"]).read_text())
    assert first["columns"] == ["class", "IoU", "IoU after the CRF"]
    assert [row[0] for row in first["data"]] == ["ground", "ball", "crate", "ring"]
    confusion = json.loads(next(folder.glob("files/media/table/val/confusion_table*")).read_text())
    assert sum(cell[2] for cell in confusion["data"]) == 3 * (20 * 26 - 6)  # all pixels that are not void
    curve = json.loads(next(folder.glob("files/media/table/final/trimap*")).read_text())
    assert [2, "after the CRF", 0.75] in curve["data"]
    [report] = [each for each in found.artifacts if each.type == "report"]
    assert {entry.path for entry in report.manifest.contents} >= {"metrics.json", "metrics.csv"}


@pytest.mark.slow
def test_a_server_that_is_not_there_and_a_process_that_dies_end_no_run(tmp_path: Path) -> None:
    unreachable = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40, "WANDB_INIT_TIMEOUT": "3"}
    (tmp_path / "a").mkdir()
    done = run_case("unreachable", tmp_path / "a" / "run", **unreachable)
    assert "this run is kept offline" in done.stderr
    assert [row["step"] for row in recorded(tmp_path / "a" / "run").rows if "val/miou" in row] == [2, 4]

    (tmp_path / "b").mkdir()
    done = run_case("killed", tmp_path / "b" / "run")
    assert done.stderr.count("the run goes on without it") == 1
    with (tmp_path / "b" / "run" / "metrics.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file) if row["train/loss"]] == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("netrc", "environment", "expected"),
    [
        (None, {}, False),
        ("machine api.wandb.ai\n  login user\n  password secret\n", {}, True),
        ("machine example.org\n  login user\n  password secret\n", {}, False),
        ("machine wandb.example.org login user password x", {"WANDB_BASE_URL": "https://wandb.example.org"}, True),
        ("this is no netrc file", {}, False),
        (None, {"WANDB_API_KEY": "0" * 40}, True),
    ],
)
def test_who_is_logged_in(
    netrc: str | None, environment: dict[str, str], expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if netrc is not None:
        (tmp_path / ".netrc").write_text(netrc)
        (tmp_path / ".netrc").chmod(0o600)
    assert wandb_logging.logged_in() is expected


def test_the_environment_beats_what_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert wandb_logging.wandb_logger(tmp_path, {}).offline
    monkeypatch.delenv("WANDB_MODE")
    assert not wandb_logging.wandb_logger(tmp_path, {}).offline


def test_an_artifact_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing called weights; choose from checkpoints, report"):
        wandb_logging.wandb_logger(tmp_path, {}, artifacts=["weights"])


def test_tags_hold_what_was_chosen_and_no_paths() -> None:
    overrides = ["model/head=aspp_l", "+seed=1", "init.path=a/b.pth", "logger.entity=me", f"data.name={'x' * 70}"]
    facts = {"choices": {"model/head": "aspp_l", "data": "voc12", "init": "none"}, "overrides": overrides}
    assert automatic_tags(facts) == ["aspp_l", "voc12", "seed=1"]
    assert automatic_tags({}) == []
