"""What ends one process of a run ends all, with one sentence, soon, and leaves nobody behind."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

LONG = ("optim.max_steps=100000", "trainer.val_every_n_steps=null", "trainer.checkpoint_every_n_steps=10")
TORCHRUN = ("-m", "torch.distributed.run")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed(rank: int, start: Any, tmp_path: Path) -> None:
    run = start(*start.tiny, *LONG, *start.ddp, "hydra.run.dir=run")
    run.wait_for((tmp_path / "run" / "checkpoints" / "last.ckpt").exists)
    os.kill(run.ranks()[rank], signal.SIGKILL)
    killed = time.monotonic()
    run.nobody_left(40)
    assert time.monotonic() - killed < 40
    assert run.wait() == (1 if rank else -signal.SIGKILL)
    assert len(run.sentences) == 1, run.text
    assert f"Process {rank} of 2" in run.sentences[0]
    assert "resume=auto" in run.sentences[0]
    assert "Traceback" not in run.text
    if rank == 1:
        assert start.state(tmp_path / "run") == "failed"
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("[a-z]*")) >= ["last.ckpt"]


def test_a_corrupt_picture_that_one_process_meets(start: Any, tmp_path: Path) -> None:
    for number in range(8):
        draw = np.random.default_rng(number)
        for kind, shape in (("images", (40, 48, 3)), ("masks", (40, 48))):
            path = tmp_path / "data" / kind / "train" / f"{number}.{'jpg' if kind == 'images' else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 2, shape, dtype=np.uint8)).save(path)
    broken = tmp_path / "data" / "images" / "train" / "5.jpg"
    broken.write_bytes(broken.read_bytes()[:150])
    scenes = ("data.layout.sizes", "data.layout.height", "data.layout.width")
    options = [each for each in start.tiny if not each.startswith(scenes)]
    data = ("data=folder", "data.root=data", "data.class_names=[a,b]", "data.layout.splits=folders")
    run = start(*options, *LONG, *start.ddp, *data, "data.val_split=train", "hydra.run.dir=run")
    assert run.wait() == 2, run.text
    run.nobody_left()
    assert len(run.sentences) == 1, run.text
    assert "5.jpg" in run.sentences[0]
    assert "Traceback" not in run.text
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["state"] == "failed" and "5.jpg" in record["error"]


def nodes(start: Any, *common: str, second: tuple[str, ...] = ()) -> list[Any]:
    port = start.free_port()
    started = []
    for rank in range(2):
        launch = ("--nnodes=2", f"--node-rank={rank}", "--nproc-per-node=1", f"--master-port={port}")
        program = (*TORCHRUN, *launch, "--master-addr=127.0.0.1", "-m", "deeplab.train")
        started.append(start(*common, *(second if rank else ()), program=program))
    return started


def test_torchrun_on_one_machine_has_one_folder(start: Any, tmp_path: Path) -> None:
    program = (*TORCHRUN, "--nproc-per-node=2", f"--master-port={start.free_port()}", "-m", "deeplab.train")
    overrides = ("optim.max_steps=3", "hydra.run.dir=runs/${now:%f}", "trainer.accelerator=cpu")
    run = start(*start.tiny, *overrides, program=program)
    assert run.wait() == 0, run.text
    run.nobody_left()
    [folder] = (tmp_path / "runs").iterdir()
    assert start.state(folder) == "finished"
    assert run.text.count("2 processes x 2") == 1


def test_two_nodes_have_one_folder(start: Any, tmp_path: Path) -> None:
    overrides = ("optim.max_steps=3", "hydra.run.dir=runs/${now:%f}", "trainer.accelerator=cpu")
    both = nodes(start, *start.tiny, *overrides)
    assert [run.wait() for run in both] == [0, 0], both[0].text + both[1].text
    [folder] = (tmp_path / "runs").iterdir()
    assert start.state(folder) == "finished"


def test_nodes_with_different_configurations(start: Any) -> None:
    both = nodes(start, *start.tiny, *LONG, "trainer.accelerator=cpu", "hydra.run.dir=run", second=("optim.lr=3e-3",))
    assert all(run.wait() != 0 for run in both)
    for run in both:
        run.nobody_left()
    sentences = both[0].sentences + both[1].sentences
    assert len(sentences) == 1, both[0].text + both[1].text
    assert "runs with optim.lr=0.003, process 0 with 0.01" in sentences[0]


def test_a_mistake_under_torchrun_is_told_once(start: Any) -> None:
    program = (*TORCHRUN, "--nproc-per-node=2", f"--master-port={start.free_port()}", "-m", "deeplab.train")
    run = start(*start.tiny, "optim.lrr=3", program=program)
    assert run.wait() != 0
    run.nobody_left()
    assert len(run.sentences) == 1, run.text
    assert "did you mean optim.lr?" in run.sentences[0]


def test_a_process_0_that_is_nowhere(start: Any) -> None:
    """The second of two nodes, started without torchrun."""
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(start.free_port()), "NODE_RANK": "1"}
    more = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1", "trainer.num_nodes=2")
    run = start(*start.tiny, *more, "trainer.start_timeout=3", "hydra.run.dir=run", **environment)
    assert run.wait() == 2, run.text
    assert "MASTER_ADDR=127.0.0.1" in run.sentences[0] and "did not answer within" in run.sentences[0]
    run.nobody_left()
