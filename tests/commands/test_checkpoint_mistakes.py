"""Checkpoints that cannot be used: refused in one sentence by every command, and no code of theirs is run."""

import copy
import csv
import fcntl
import json
import os
import shutil

import pytest
import torch

from deeplab.config.continue_run import continued
from deeplab.errors import InputError
from deeplab.segmenter import Segmenter

EVALUATE, PREDICT, RESUME = "evaluate", "predict", "resume"


def with_config(content, section, value):
    changed = copy.deepcopy(content)
    sections, last = section.split(".")[:-1], section.split(".")[-1]
    node = changed["deeplab"]["config"]
    for name in sections:
        node = node[name]
    node[last] = value
    return changed


class Touch:
    """Pickled code: unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mknod, (str(self.path),)


def missing(path, content):
    return ["there is no such file or folder", "a run's folder"]


def folder(path, content):
    path.mkdir()
    return ["is a folder"]


def truncated(path, content):
    torch.save(content, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return ["truncated or damaged"]


def empty(path, content):
    path.write_bytes(b"")
    return ["truncated or damaged"]


def a_text(path, content):
    path.write_text("miou: 0.7\n")
    return ["not a weight file"]


def weights_alone(path, content):
    torch.save(content["state_dict"], path)
    return ["carries no configuration", "init.path"]


def a_list(path, content):
    torch.save([1, 2], path)
    return ["carries no configuration"]


def another_programs(path, content):
    torch.save({"deeplab": {"config": 3}, "state_dict": {}}, path)
    return ["carries no configuration"]


def pickled_code(path, content):
    torch.save({**content, "extra": Touch(path.with_suffix(".ran"))}, path)
    return ["refused", "pickled code"]


def code_as_network(path, content):
    call = {"_target_": "os.mknod", "path": str(path.with_suffix(".ran"))}
    torch.save(with_config(content, "model.backbone", call), path)
    return ["refused", "model.backbone._target_=os.mknod"]


def code_within_network(path, content):
    call = {"_target_": "pathlib.Path.touch", "self": str(path.with_suffix(".ran"))}
    torch.save(with_config(content, "model.backbone.width", call), path)
    return ["refused", "model.backbone.width._target_=pathlib.Path.touch"]


def code_as_layout(path, content):
    call = {"_target_": "subprocess.Popen", "args": ["touch", str(path.with_suffix(".ran"))]}
    torch.save(with_config(content, "data.layout", call), path)
    return ["refused", "data.layout._target_=subprocess.Popen"]


def code_as_schedule(path, content):
    call = {"_target_": "os.mknod", "path": str(path.with_suffix(".ran"))}
    torch.save(with_config(content, "optim.schedule", call), path)
    return ["refused", "optim.schedule._target_=os.mknod"]


def another_shape(path, content):
    changed = copy.deepcopy(content)
    key = next(key for key in changed["state_dict"] if key.endswith("head.fc.weight") or "head" in key)
    changed["state_dict"][key] = torch.zeros(5, 5)
    torch.save(changed, path)
    return ["1 tensors differ", key.removeprefix("network.")]


def a_tensor_less(path, content):
    changed = copy.deepcopy(content)
    key = next(key for key in changed["state_dict"] if key.startswith("network.backbone"))
    del changed["state_dict"][key]
    torch.save(changed, path)
    return ["1 tensors differ", key.removeprefix("network.")]


def a_tensor_more(path, content):
    changed = copy.deepcopy(content)
    changed["state_dict"]["network.head.extra"] = torch.zeros(1)
    torch.save(changed, path)
    return ["1 tensors differ", "head.extra"]


def a_nan(path, content):
    changed = copy.deepcopy(content)
    key = next(key for key in changed["state_dict"] if key.startswith("network.head"))
    changed["state_dict"][key].view(-1)[0] = torch.nan
    torch.save(changed, path)
    return [key.removeprefix("network."), "holds nan"]


def a_text_for_a_tensor(path, content):
    changed = copy.deepcopy(content)
    changed["state_dict"][next(iter(changed["state_dict"]))] = "text"
    torch.save(changed, path)
    return ["not a checkpoint of deeplab train"]


FILES = [missing, folder, truncated, empty, a_text, weights_alone, a_list, another_programs, pickled_code]
TAMPERED = [code_as_network, code_within_network, code_as_layout, code_as_schedule]
TAMPERED += [another_shape, a_tensor_less, a_tensor_more, a_nan, a_text_for_a_tensor]


@pytest.fixture(scope="module")
def content(checkpoint):
    return torch.load(checkpoint, weights_only=True)


@pytest.fixture
def use(run, trained, own_data, tmp_path):
    """use(command, path): evaluate, predict with, or resume from a checkpoint."""

    def call(command, path):
        if command == EVALUATE:
            return run("evaluate", f"checkpoint={path}", "output=out")
        if command == PREDICT:
            shutil.copytree(trained.data / "images" / "val", tmp_path / "photos")
            return run("predict", f"checkpoint={path}", "input=photos", "output=out")
        return run("train", "optim=adamw_poly", *own_data, f"resume={path}", "optim.max_steps=25", "hydra.run.dir=run")

    return call


@pytest.mark.parametrize("mistake", FILES + TAMPERED, ids=lambda mistake: mistake.__name__)
def test_evaluate_refuses(use, content, tmp_path, mistake):
    path = tmp_path / "bad.ckpt"
    parts = mistake(path, content)
    result = use(EVALUATE, path)
    result.refused(str(path), *parts)
    assert not path.with_suffix(".ran").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "mistake", [missing, pickled_code, code_as_network, another_shape, a_nan], ids=lambda m: m.__name__
)
@pytest.mark.parametrize("command", [PREDICT, RESUME])
def test_predict_and_resume_refuse(use, content, tmp_path, command, mistake):
    path = tmp_path / "bad.ckpt"
    parts = mistake(path, content)
    result = use(command, path)
    result.refused(str(path), *parts)
    assert not path.with_suffix(".ran").exists()
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "run").rglob("*.ckpt"))


@pytest.mark.parametrize("command", [EVALUATE, PREDICT, RESUME])
def test_the_last_is_named_where_a_run_has_no_best(use, checkpoint, tmp_path, command):
    shutil.copy(checkpoint, tmp_path / "last.ckpt")
    use(command, tmp_path / "best.ckpt").refused(f"best.ckpt: there is no such file; there is {tmp_path}/last.ckpt")


def test_what_resume_takes_is_said(run, own_data):
    result = run("train", *own_data, "resume=outputs/nothing", "hydra.run.dir=run")
    result.refused("outputs/nothing: there is no such file or folder; resume takes a run's folder")
    assert not (result.folder / "run").exists()


@pytest.mark.parametrize("names", [["best.ckpt", "last.ckpt"], ["last.ckpt"]])
def test_of_a_runs_folder_the_best_is_taken_or_else_the_last(run, use, checkpoint, tmp_path, names):
    (tmp_path / "a run" / "checkpoints").mkdir(parents=True)
    for name in names:
        shutil.copy(checkpoint, tmp_path / "a run" / "checkpoints" / name)
    for command in (EVALUATE, PREDICT):
        assert f"taking {tmp_path}/a run/checkpoints/{names[0]}" in use(command, tmp_path / "a run").worked().err
        shutil.rmtree(tmp_path / "out")
    search = run("search-crf", "checkpoint=a run", "search.split=no")
    search.refused("no")
    assert "taking a run/checkpoints/" in search.err
    assert Segmenter.load(tmp_path / "a run").class_names == ["ground", "grass", "sky"]


def test_a_run_without_a_checkpoint_is_refused(use, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    use(EVALUATE, tmp_path / "run").refused("run/checkpoints holds neither best.ckpt nor last.ckpt")


def test_resume_refuses_a_checkpoint_without_the_optimizers_state(use, content, tmp_path):
    stripped = {key: value for key, value in content.items() if key in ("state_dict", "deeplab", "epoch")}
    torch.save(stripped, tmp_path / "stripped.ckpt")
    use(RESUME, tmp_path / "stripped.ckpt").refused("stripped.ckpt", "no state of training", "init.path")


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


def test_of_a_folder_of_runs_the_latest_is_named(use, tmp_path):
    for number, name in enumerate(("b", "c", "a")):
        checkpoints = tmp_path / "runs" / name / "checkpoints"
        checkpoints.mkdir(parents=True)
        (checkpoints / "last.ckpt").write_bytes(b"")
        os.utime(checkpoints / "last.ckpt", (number, number))
    (checkpoints / "best.ckpt").symlink_to("nowhere")
    use(EVALUATE, tmp_path / "runs").refused("not a run's folder", f"the latest is {tmp_path / 'runs' / 'a'}.")
    assert not (tmp_path / "out").exists()


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


def test_resume_goes_on(use, checkpoint, tmp_path):
    use(RESUME, checkpoint).worked()
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 25


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


def test_a_runs_folder_is_not_resumed_by_several_jobs(run, scenes, tmp_path):
    (tmp_path / "run").mkdir()
    run("train", *scenes, "-m", "seed=0,1", "resume=run").refused("resume=run", "leave -m out", "resume_sweep=")
    assert not list((tmp_path / "run").iterdir())


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


def test_a_file_of_initial_weights_that_does_not_fit(run, own_data, tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "weights.pth")
    result = run("train", *own_data, f"init.path={tmp_path}/weights.pth")
    result.refused("init.path", "weights.pth")
    assert not list(tmp_path.rglob("*.ckpt"))
