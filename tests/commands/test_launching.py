"""The commands as programs: help, start-up time, exit codes, sweeps, several processes, the installed package."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from deeplab.cli import COMMANDS

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ["torch", "hydra", "omegaconf", "pytorch_lightning", "albumentations", "numpy", "cv2", "rich"]


def program(*arguments, folder, **environment):
    """Run python with the arguments in a folder; return the finished process and its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def deeplab(*arguments, folder, **environment):
    return program("-m", "deeplab.cli", *arguments, folder=folder, **environment)


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_the_help_of_all_names_the_commands_and_is_quick(tmp_path, flag):
    done, seconds = deeplab(flag, folder=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    for command in COMMANDS:
        assert f"  {command} " in done.stdout
    assert seconds < 0.5


def test_the_help_of_all_imports_nothing_heavy(tmp_path):
    code = f"import sys, deeplab.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done, _ = program("-c", code, folder=tmp_path)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("words", [["train"], ["weights", "convert"]])  # more and less than a buffer holds
def test_help_into_a_pipe_that_is_closed_says_nothing(tmp_path, words):
    """As `deeplab train --help | head` does."""
    command = [sys.executable, "-m", "deeplab.cli", *words, "--help"]
    child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    child.stdout.close()
    with child:
        assert child.stderr.read() == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_is_quick_and_says_what_one_needs(tmp_path, command):
    done, seconds = deeplab(*command.split(), "--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    page = done.stdout
    assert f"usage: deeplab {command} " in page
    assert f"Examples\n  deeplab {command} " in page
    assert command == "runs" or ("-m " in page and "--cfg job" in page)
    assert seconds < 2
    assert not any(tmp_path.iterdir())


def test_the_help_shows_all_groups_of_a_command_and_the_values_that_overrides_lead_to(run):
    page = run("train", "--help", "experiment=demo", "optim.lr=0.125").worked().out
    groups, keys = page.split("\nKeys ")
    for path in (REPOSITORY / "conf").rglob("*.yaml"):
        group = path.parent.relative_to(REPOSITORY / "conf").as_posix()
        if group != "." and not group.startswith("hydra"):
            line = groups[groups.index(f"\n  {group} ") :]
            assert path.stem in line
    config = yaml.safe_load(keys.split("\n", 1)[1])
    assert (config["name"], config["optim"]["lr"]) == ("demo", 0.125)
    assert "experiment" not in run("predict", "--help").worked().out
    run("train", "--help", "optim.lrr=1").refused("did you mean optim.lr?")


@pytest.mark.parametrize(
    ("command", "overrides"),
    [
        ("train", ["experiment=demo"]),
        ("evaluate", ["checkpoint=a,b.ckpt"]),
        ("predict", ["checkpoint=x", "input=y", "output=z"]),
        ("crf", ["images=x", "probs=y, z", "output=z"]),
        ("search-crf", ["checkpoint=x", "crf.iterations=3"]),
        ("model", ["model/backbone=vgg16"]),
    ],
)
def test_the_configuration_can_be_printed(run, command, overrides):
    result = run(command, *overrides, "--cfg", "job").worked()
    config = yaml.safe_load(result.out)
    assert config.get("checkpoint") in (None, "a,b.ckpt", "x")
    assert result.written() == set()


def test_the_programs_exit_codes(tmp_path):
    for arguments, code, text in (
        ([], 2, "usage: deeplab"),
        (["trian"], 2, "no command 'trian'; choose one of train, evaluate, predict"),
        (["train", "optim.max_step=3"], 2, "deeplab train: There is no key optim.max_step;"),
        (["--version"], 0, "deeplab "),
    ):
        done, _ = deeplab(*arguments, folder=tmp_path)
        assert done.returncode == code
        assert text in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_mistake_found_at_work_ends_with_status_2_as_well(tmp_path, scenes):
    done, _ = deeplab("train", *scenes, "data.layout.sizes={train: 0}", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("deeplab train: data.layout.sizes=")
    assert len(done.stderr.splitlines()) == 1


def test_a_fault_of_ours_keeps_its_traceback_and_is_logged(run, scenes, tmp_path, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("a fault")

    monkeypatch.setattr("deeplab.training.seeding.seed_everything", broken)
    result = run("train", *scenes, "hydra.run.dir=run")
    assert (result.code, result.crashed) == (1, True)
    assert "RuntimeError: a fault" in (tmp_path / "run" / "train.log").read_text()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["state"], record["error"]) == ("failed", "a fault")


@pytest.mark.slow
def test_a_sweep_runs_every_job_in_a_folder_of_its_own(run, scenes, tmp_path):
    run("train", "-m", *scenes, "optim.lr=0.001,0.002", "hydra.sweep.dir=sweep").worked()
    for job, rate in enumerate((0.001, 0.002)):
        folder = tmp_path / "sweep" / str(job)
        assert json.loads((folder / "metrics.json").read_text())["config"]["optim"]["lr"] == rate
        assert json.loads((folder / "run.json").read_text())["state"] == "finished"
        assert (folder / "checkpoints" / "last.ckpt").is_file()


@pytest.fixture
def beside_another(tmp_path):
    """beside_another(*arguments): the console script, called in tmp_path, where another package `deeplab` lies."""
    script = tmp_path / "bin" / "deeplab"
    script.parent.mkdir()
    script.write_text("from deeplab.cli import main\n\nmain()\n")
    (tmp_path / "deeplab").mkdir()
    (tmp_path / "deeplab" / "__init__.py").write_text("raise SystemExit('the wrong deeplab')\n")
    path = os.pathsep.join(each for each in sys.path if each)
    return lambda *arguments: program(str(script), *arguments, folder=tmp_path, PYTHONPATH=path)[0]


def test_a_job_of_a_sweep_takes_no_package_of_the_current_folder(beside_another, tmp_path):
    done = beside_another("train", "-m", "seed=-1", "hydra.sweep.dir=sweep")
    assert done.returncode == 1, done.stderr
    assert "seed=-1: it must be at least 0" in (tmp_path / "sweep" / "0" / "output.log").read_text()


@pytest.mark.slow
def test_a_process_of_ddp_takes_no_package_of_the_current_folder(beside_another, scenes):
    more = ["trainer=ddp", "trainer.devices=2", "evaluate=none", "hydra.run.dir=run"]
    done = beside_another("train", *scenes, *more)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_sweep_over_checkpoints(run, checkpoint, tmp_path):
    for name in ("a.ckpt", "b.ckpt"):
        shutil.copy(checkpoint, tmp_path / name)
    run("evaluate", "-m", "checkpoint=a.ckpt,b.ckpt", "crf=none", "hydra.sweep.dir=sweep").worked()
    assert len(list(tmp_path.glob("sweep/*/metrics.json"))) == 2


def test_model_prints_what_it_counts(run):
    out = run("model", "model/backbone=vgg16", "model/head=large_fov", "data=voc12").worked().out
    assert "20,505,429" in out  # the paper's parameters of DeepLab-LargeFOV


@pytest.mark.slow
def test_two_processes_are_started_by_the_command_itself(tmp_path, scenes):
    more = ["trainer=ddp", "trainer.devices=2", "hydra.run.dir=my run, [1]", "crf=default", "crf.iterations=1"]
    done, _ = deeplab("train", *scenes, *more, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "my run, [1]" / "metrics.json").read_text())
    assert document["num_images"] == 2
    with np.load(tmp_path / "my run, [1]" / "per_picture.npz") as arrays:
        assert sorted(arrays["ids"]) == ["val_000000", "val_000001"]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("split", "pictures", "processes"), [("test", 3, 2), ("val", 1, 4)])
def test_scores_do_not_depend_on_the_number_of_processes(tmp_path, scenes, split, pictures, processes):
    """Nor does what the CRF makes of the predictions, bit for bit; with one picture, three processes have none."""
    sizes = "data.layout.sizes={train: 4, val: 1, test: 3}"
    done, _ = deeplab("train", *scenes, sizes, "optim.lr=0.01", "evaluate=none", "hydra.run.dir=run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    options = ["checkpoint=run/checkpoints/last.ckpt", f"split={split}", "crf=default", "crf.workers=1"]
    several = ["trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={processes}"]
    for name, more in (("one", []), ("several", several)):
        done, _ = deeplab("evaluate", *options, *more, f"hydra.run.dir={name}", folder=tmp_path)
        assert done.returncode == 0, done.stderr
    one, other = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "several"))
    assert one["num_images"] == pictures
    for document in (one, other):
        document["config"].pop("trainer"), document.pop("seconds")
    assert one == other
    with np.load(tmp_path / "one/per_picture.npz") as a, np.load(tmp_path / "several/per_picture.npz") as b:
        assert set(a) == set(b) == {"ids", "confusion", "confusion_crf"}
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
    for path in sorted((tmp_path / "one").glob("predictions*/**/*.png")):
        assert path.read_bytes() == (tmp_path / "several" / path.relative_to(tmp_path / "one")).read_bytes()


@pytest.mark.slow
def test_the_wheel_carries_the_configuration(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source) if (REPOSITORY / name).exists() else (source / name).write_text("")
    for name in ("src", "conf"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("*.so", "*.egg-info"))
    pip = ["-m", "pip", "--disable-pip-version-check", "--no-input"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "-w", "dist", "./source"]
    # Without its C++ part, which would take a minute and is optional.
    done, _ = program(*build, folder=tmp_path, CC="false", CXX="false")
    assert done.returncode == 0, done.stderr
    [wheel] = (tmp_path / "dist").glob("deeplab-*.whl")
    install = [*pip, "install", "--quiet", "--no-deps", "--no-index", "--target", "site", str(wheel)]
    done, _ = program(*install, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    installed = tmp_path / "site" / "deeplab" / "conf"
    wanted = {path.relative_to(REPOSITORY / "conf") for path in (REPOSITORY / "conf").rglob("*.yaml")}
    assert {path.relative_to(installed) for path in installed.rglob("*.yaml")} == wanted
    shutil.rmtree(source)
    path = str(tmp_path / "site")
    done, _ = deeplab("train", "experiment=demo", "--cfg", "job", folder=tmp_path, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["name"] == "demo"
    done, _ = deeplab("train", "--help", folder=tmp_path, PYTHONPATH=path)
    assert str(installed) in done.stdout
