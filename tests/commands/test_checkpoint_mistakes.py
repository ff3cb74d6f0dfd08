"""Checkpoints that cannot be used: refused in one sentence by every command, and no code of theirs is run."""

import copy
import os
import shutil

import pytest
import torch

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


def test_of_a_folder_of_runs_the_latest_is_named(use, tmp_path):
    for number, name in enumerate(("b", "c", "a")):
        checkpoints = tmp_path / "runs" / name / "checkpoints"
        checkpoints.mkdir(parents=True)
        (checkpoints / "last.ckpt").write_bytes(b"")
        os.utime(checkpoints / "last.ckpt", (number, number))
    (checkpoints / "best.ckpt").symlink_to("nowhere")
    use(EVALUATE, tmp_path / "runs").refused("not a run's folder", f"the latest is {tmp_path / 'runs' / 'a'}.")
    assert not (tmp_path / "out").exists()


def test_resume_goes_on(use, checkpoint, tmp_path):
    use(RESUME, checkpoint).worked()
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 25


def test_a_file_of_initial_weights_that_does_not_fit(run, own_data, tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "weights.pth")
    result = run("train", *own_data, f"init.path={tmp_path}/weights.pth")
    result.refused("init.path", "weights.pth")
    assert not list(tmp_path.rglob("*.ckpt"))
