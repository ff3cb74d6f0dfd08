"""Ctrl-C: one sentence, status 130, nothing half-written; a training can be taken up again."""

import json
import signal

import pytest
import torch

from deeplab.data import reading


@pytest.fixture
def interrupt_at(monkeypatch):
    """interrupt_at(name): SIGINT while the picture of that file name is read, once."""
    # A shell that runs these tests in the background has them ignore SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    decode = reading.decode_picture

    def at(name):
        def interrupted(data, path):
            if str(path).endswith(name):
                monkeypatch.setattr(reading, "decode_picture", decode)
                signal.raise_signal(signal.SIGINT)
            return decode(data, path)

        monkeypatch.setattr(reading, "decode_picture", interrupted)

    yield at
    signal.signal(signal.SIGINT, before)


def test_train_writes_a_checkpoint_and_goes_on_from_it(run, own_data, interrupt_at, tmp_path):
    interrupt_at("train/0.jpg")
    result = run("train", *own_data, "optim.max_steps=500", "evaluate=none", "hydra.run.dir=run")
    result.refused("Left as asked after step", "of 500", "deeplab train resume=", code=130)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "preempted"
    step = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert 1 <= step < 10
    more = ["evaluate=none", "hydra.run.dir=run", "resume=auto", f"optim.max_steps={step + 1}"]
    assert "Resuming" in run("train", *own_data, *more).worked().err


def test_evaluate_writes_no_scores(run, checkpoint, interrupt_at, tmp_path):
    interrupt_at("val/0.jpg")
    result = run("evaluate", f"checkpoint={checkpoint}", "crf=none", "output=out", "data.num_workers=0")
    result.refused("Left on Ctrl-C", "no metrics.json", code=130)
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_predict_leaves_whole_files(run, checkpoint, interrupt_at, tmp_path, draw_photo):
    for name in "ab":
        draw_photo(tmp_path / "photos" / f"{name}.png")
    interrupt_at("photos/b.png")
    run("predict", f"checkpoint={checkpoint}", "input=photos", "output=out").refused("Stopped by Ctrl-C", code=130)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "a_overlay.jpg"}
