"""`logger=wandb`, offline: what it writes, that it asks nobody, and that it is imported only when chosen."""

import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deeplab.training import wandb_logging

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


def history(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The configuration and the rows of a run."""
    from wandb.proto.wandb_internal_pb2 import Record

    config: dict[str, Any] = {}
    rows = []
    for each in records(path):
        record = Record.FromString(each)
        for item in record.run.config.update:
            config[item.key] = json.loads(item.value_json)
        if record.HasField("history"):
            row = record.history.item
            rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in row})
    return config, rows


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


@pytest.mark.slow
def test_an_offline_run(tmp_path: Path, listener: tuple[int, list[Any]]) -> None:
    port, calls = listener
    proxy = f"http://127.0.0.1:{port}"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), proxy),
    }
    (tmp_path / "home").mkdir()
    command = [sys.executable, str(SCRIPT), str(tmp_path / "run")]
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert calls == []
    assert "wandb" not in done.stdout
    assert "wandb:" not in done.stderr

    [run] = (tmp_path / "run" / "wandb").glob("offline-run-*")
    config, rows = history(next(run.glob("run-*.wandb")))
    assert {key: config[key] for key in ("name", "optim")} == {"name": "test", "optim": {"lr": 0.1}}
    trained = [row for row in rows if "train/loss" in row]
    assert [row["trainer/global_step"] for row in trained] == [1, 2, 3, 4]
    assert {"train/loss_fused", "train/lr/head_weight"} <= set(trained[0])
    assert [row["trainer/global_step"] for row in rows if "val/miou" in row] == [2, 4]
    panels = [row for row in rows if "val/pictures/count" in row]
    assert [row["trainer/global_step"] for row in panels] == [2, 4]
    for panel in panels:
        assert panel["val/pictures/captions"] == ["picture_0", "picture_1"]
        assert [set(masks) for masks in panel["val/pictures/all_masks"]] == [{"truth", "prediction"}] * 2
    assert len(list((run / "files" / "media" / "images" / "mask" / "val").glob("*.png"))) == 8


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
    assert wandb_logging.wandb_logger(tmp_path, {})._offline
    monkeypatch.delenv("WANDB_MODE")
    assert not wandb_logging.wandb_logger(tmp_path, {})._offline
