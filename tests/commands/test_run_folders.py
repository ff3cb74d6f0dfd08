"""Whose a run's folder is, and what a command that is refused leaves in it."""

import fcntl
import os

import pytest


def test_two_commands_do_not_share_a_folder(run, scenes, checkpoint, tmp_path):
    run("evaluate", f"checkpoint={checkpoint}", "output=run").worked()
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    folder = os.open(tmp_path / "run", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        run("train", *scenes, "seed=1", "hydra.run.dir=run").refused("run: another command is writing its run there")
        run("evaluate", f"checkpoint={checkpoint}", "output=run").refused("another command is writing")
    finally:
        os.close(folder)
    assert all(path.read_bytes() == content for path, content in before.items() if path.suffix != ".log")
    run("evaluate", f"checkpoint={checkpoint}", "output=run").worked()


def test_no_scores_of_an_earlier_run_stay(run, scenes, checkpoint, tmp_path):
    run("evaluate", f"checkpoint={checkpoint}", "output=run").worked()
    assert (tmp_path / "run" / "metrics.json").is_file()
    run("train", *scenes, "optim.lr=1e30", "hydra.run.dir=run").refused("NaN or infinite")
    assert not (tmp_path / "run" / "metrics.json").exists() and not (tmp_path / "run" / "per_picture.npz").exists()


@pytest.mark.parametrize(("command", "key"), [("train", "hydra.run.dir"), ("predict", "output"), ("predict", "input")])
def test_an_empty_path_is_refused(run, checkpoint, tmp_path, command, key):
    more = [f"checkpoint={checkpoint}", "input=x", "output=y"] if command == "predict" else []
    run(command, *[each for each in more if not each.startswith(f"{key}=")], f"{key}=").refused(f"{key}= is empty")
    assert not list(tmp_path.iterdir())


def test_a_refused_call_leaves_no_folder(run, scenes, tmp_path):
    (tmp_path / "mine").mkdir()
    for folder in ("new", "mine"):
        run("train", *scenes, "optim.lr=-1", f"hydra.run.dir={folder}").refused("optim.lr=-1.0")
    run("train", *scenes, "optim.lr=-1", "name=own").refused("optim.lr=-1.0")
    run("evaluate", "checkpoint=nowhere.ckpt").refused("nowhere.ckpt")
    assert [path.name for path in tmp_path.rglob("*") if path.name != "outputs"] == ["mine"]
