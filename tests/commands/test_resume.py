"""Runs that go on: what they take from before, what from the command line, and what is refused."""

import csv
import json
import shutil

import pytest
import torch

from deeplab.config.continue_run import continued
from deeplab.errors import InputError


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["model/head=large_fov"], ["another network", "head."]),
        (["optim=sgd_poly"], ["optim.optimizer._target_=torch.optim.AdamW", "torch.optim.SGD"]),
        (["optim.freeze=[head]"], ["optim.freeze=[]", "['head']"]),
        (["optim.global_batch_size=2", "optim.loss_group=2"], ["batches of 4", "batches of 2"]),
        (["seed=1"], ["seed=0", "this run has 1"]),
        (["data.train_split=val"], ["data.train_split=train", "val"]),
    ],
    ids=str,
)
def test_resume_refuses_another_training(run, checkpoint, own_data, overrides, parts):
    same = ["optim=adamw_poly", *own_data, "optim.max_steps=25"]
    run("train", *same, f"resume={checkpoint}", *overrides).refused(*parts)


def test_resume_refuses_other_pictures_of_the_same_number(run, checkpoint, trained, own_data, tmp_path):
    shutil.copytree(trained.data, tmp_path / "other")
    for kind in ("images", "masks"):
        for path in (tmp_path / "other" / kind / "train").iterdir():
            path.rename(path.with_name(f"other_{path.name}"))
    same = ["optim=adamw_poly", *own_data, "optim.max_steps=25", f"data.root={tmp_path / 'other'}"]
    run("train", *same, f"resume={checkpoint}").refused("other training pictures", "init.path")


def test_resume_from_a_folder(run, trained, own_data, tmp_path):
    same = ["optim=adamw_poly", *own_data, "optim.max_steps=25"]
    shutil.copytree(trained.folder / "checkpoints", tmp_path / "run" / "checkpoints")
    damaged = tmp_path / "run" / "checkpoints" / "last.ckpt"
    damaged.write_bytes(damaged.read_bytes()[:-200])
    result = run("train", *same, "resume=auto", "hydra.run.dir=run").worked()
    assert f"{damaged} is damaged" in result.err and "going on from the one before it" in result.err
    assert torch.load(damaged, weights_only=True)["global_step"] == 25
    (tmp_path / "empty").mkdir()
    run("train", *same, "resume=empty").refused("resume=empty", "no checkpoints/last.ckpt")
    run("train", *same, "resume=auto", "hydra.run.dir=new", "evaluate=none").worked()


def test_a_runs_folder_repeats_its_command_line(tmp_path):
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    (tmp_path / "run" / ".hydra" / "overrides.yaml").write_text("- seed=3\n- resume=auto\n- data.root='My Data'\n")
    folder = tmp_path / "run"
    assert continued(["--config-dir=x", f"resume={folder}", "optim.max_steps=9"]) == [
        "--config-dir=x",
        "seed=3",
        "data.root='My Data'",
        "optim.max_steps=9",
        "resume=auto",
        f"hydra.run.dir={folder}",
    ]
    for left_alone in (["seed=1"], ["resume=auto"], [f"resume={folder}/last.ckpt"], [f"resume={tmp_path}"]):
        assert continued(left_alone) == left_alone
    (folder / ".hydra" / "overrides.yaml").write_text("a: b")
    with pytest.raises(InputError, match="no list of overrides"):
        continued([f"resume={folder}"])


@pytest.mark.parametrize("option", [["--config-dir", "mine"], ["--config-dir=mine"], []], ids=str)
def test_a_run_with_own_configuration_files_is_resumed(run, scenes, tmp_path, option):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "own.yaml").write_text("# @package _global_\noptim: {lr: 0.003}\n")
    own = ["--config-dir", "mine", "experiment=own", *scenes, "evaluate=none", "hydra.run.dir=run"]
    run("train", *own).worked()
    run("train", *option, "resume=run", "optim.max_steps=3").worked()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["steps"], record["config"]["optim"]["lr"]) == (3, 0.003)


def test_a_refused_resume_leaves_the_run_as_it_was(run, scenes, tmp_path):
    run("train", *scenes, "evaluate=none", "hydra.run.dir=run").worked()
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    going_on = ["resume=auto", "hydra.run.dir=run"]
    run("train", *scenes, "model/head=large_fov", *going_on).refused("another network")
    run("train", *scenes, "optim.lr=-1", *going_on).refused("optim.lr=-1.0")
    stride = run("train", *scenes, "model.backbone.output_stride=16", *going_on)
    stride.refused("it was trained with model.backbone.output_stride=8, this run has 16")
    run("train", *scenes, "data.layout.sizes.train=6", *going_on).refused("other training pictures (8 of them)")
    run("train", *scenes, "optim.max_steps=1", *going_on).refused("step 2", "optim.max_steps=1 has been passed")
    run("train", *scenes, "seed=1", "hydra.run.dir=run").refused("checkpoints of another run", "resume=")
    run("evaluate", "checkpoint=run", "output=run").refused("output=run", "folder of a training")
    run("evaluate", "checkpoint=run", "hydra.run.dir=scores").worked()
    run("train", "resume=scores").refused("resume=scores", "another command than train")
    after = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    log = tmp_path / "run" / "train.log"
    assert b"another network" in after.pop(log) and before.pop(log)
    assert after == before


def test_a_runs_folder_is_not_resumed_by_several_jobs(run, scenes, tmp_path):
    (tmp_path / "run").mkdir()
    run("train", *scenes, "-m", "seed=0,1", "resume=run").refused("resume=run", "leave -m out", "resume_sweep=")
    assert not list((tmp_path / "run").iterdir())


def test_resume_takes_the_values_of_the_command_line(run, scenes, tmp_path):
    values = ["optim.lr=0.01", "optim.optimizer.momentum=0.5", "optim.weight_decay=0.125"]
    run("train", *scenes, *values, "evaluate=none", "hydra.run.dir=run").worked()
    changed = ["optim.lr=0.004", "optim.optimizer.momentum=0.25", "optim.max_steps=4", "trainer.log_every_n_steps=1"]
    result = run("train", *scenes, *values[2:], *changed, "evaluate=none", "resume=auto", "hydra.run.dir=run").worked()
    assert "From here on it is trained with" in result.err and "optim.lr=0.004 (until now 0.01)" in result.err
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    groups = last["optimizer_states"][0]["param_groups"]
    assert {group["momentum"] for group in groups} == {0.25}
    assert {group["weight_decay"] for group in groups} == {0, 0.125}
    assert {group["initial_lr"] for group in groups} == {0.004, 0.008, 0.04, 0.08}
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rates = {int(row["step"]): float(row["train/lr/backbone_weight"]) for row in csv.DictReader(file)}
    assert [rates[step] for step in (3, 4)] == pytest.approx([0.004 * 0.5**0.9, 0.004 * 0.25**0.9])
