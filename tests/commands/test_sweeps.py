"""Sweeps of real trainings: jobs of one and of two processes that fail, are killed and go on; Optuna; W&B's agent."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]

# What befalls a run, once: a file says that it has happened. It also notes what every process was given.
FATES = """
import os
from pathlib import Path

import pytorch_lightning as pl


class Fate(pl.Callback):
    def __init__(self, kind, folder):
        self.kind, self.once = kind, Path(folder) / f"{kind}.happened"
        self.given = Path(folder) / "given"

    def on_train_start(self, trainer, module):
        self.given.mkdir(exist_ok=True)
        name = f"{Path(trainer.default_root_dir).name}-{trainer.global_rank}-{trainer.world_size}"
        (self.given / name).write_text(f"{trainer.optimizers[0].param_groups[0]['lr']} {trainer.global_step}")

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step < 2 or self.kind == "none" or not trainer.is_global_zero or self.once.exists():
            return
        self.once.touch()
        if self.kind == "raises":
            raise RuntimeError("a fault of the job")
        os.kill(os.getpid(), 9)
"""


@pytest.fixture
def fates(tmp_path, scenes):
    """Arguments for experiments one, two, raises and killed of three steps; two has two processes."""
    (tmp_path / "fates.py").write_text(FATES)
    place = tmp_path / "my conf" / "experiment"
    place.mkdir(parents=True)
    for name in ("one", "two", "raises", "killed"):
        kind = name if name in ("raises", "killed") else "none"
        content = {
            "name": name,
            "callbacks": {"fate": {"_target_": "fates.Fate", "kind": kind, "folder": str(tmp_path)}},
            "trainer": {"strategy": "ddp", "devices": 2} if name == "two" else {},
        }
        (place / f"{name}.yaml").write_text("# @package _global_\n" + yaml.safe_dump(content))
    more = (
        "optim.max_steps=3",
        "trainer.log_every_n_steps=1",
        "trainer.checkpoint_every_n_steps=1",
        "num_pictures=0",
        "hydra.sweep.dir=my sweep",
    )
    return ("--config-dir", str(place.parent), *scenes, *more)


def deeplab(folder, *arguments):
    """`deeplab train` in a folder, as if one process of another training called it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{REPOSITORY / 'src'}:{folder}"}
    environment |= {"LOCAL_RANK": "1", "WORLD_SIZE": "2"}
    return subprocess.run(
        [sys.executable, "-m", "deeplab.cli", "train", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


def given(folder):
    """What the processes of each job had: {job-rank-number of processes: (rate, first step)}."""
    read = {path.name: path.read_text().split() for path in (folder / "given").iterdir()}
    return {name: (float(rate), int(step)) for name, (rate, step) in read.items()}


def losses(folder):
    """Step and loss of each row of metrics.csv."""
    with (folder / "metrics.csv").open() as file:
        return [(row["step"], row["train/loss"]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_a_sweep_with_jobs_that_fail_and_its_continuation(tmp_path, fates):
    done = deeplab(tmp_path, "-m", *fates, "experiment=one,two,raises,killed", "jobs=2")
    assert done.returncode == 1, done.stdout + done.stderr
    sweep = tmp_path / "my sweep"
    jobs = json.loads((sweep / "sweep.json").read_text())["jobs"]
    assert [job["state"] for job in jobs] == ["finished", "finished", "failed", "failed"], done.stderr
    assert [job["name"] for job in jobs] == [f"experiment={name}" for name in ("one", "two", "raises", "killed")]
    assert jobs[2]["error"] == "RuntimeError: a fault of the job"
    assert (jobs[3]["error"], jobs[3]["exit_code"]) == ("killed by SIGKILL", -9)
    assert set(given(tmp_path)) == {"0-0-1", "1-0-2", "1-1-2", "2-0-1", "3-0-1"}
    assert "Traceback" in (sweep / "2" / "output.log").read_text()
    assert "RuntimeError: a fault of the job" in (sweep / "2" / "train.log").read_text()
    assert "Traceback" not in done.stderr
    assert f"deeplab train 'resume_sweep={sweep}'" in done.stderr
    assert (sweep / "multirun.yaml").is_file()
    miou = json.loads((sweep / "1" / "metrics.json").read_text())["miou"]
    assert jobs[1]["miou"] == miou
    assert f"{100 * miou:.2f}" in done.stdout

    before = {number: (sweep / number / "metrics.json").stat().st_mtime_ns for number in ("0", "1")}
    done = deeplab(tmp_path, f"resume_sweep={sweep}", "jobs=2")
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = json.loads((sweep / "sweep.json").read_text())["jobs"]
    assert {job["state"] for job in jobs} == {"finished"}
    assert {number: (sweep / number / "metrics.json").stat().st_mtime_ns for number in before} == before
    # Both went on from a checkpoint; that of the second step may not have been written when the one was killed.
    assert given(tmp_path)["2-0-1"][1] == 2
    assert given(tmp_path)["3-0-1"][1] in (1, 2)
    assert losses(sweep / "0") == losses(sweep / "2") == losses(sweep / "3")


@pytest.mark.slow
def test_all_processes_of_a_job_get_what_optuna_drew(tmp_path, fates):
    sampler = ("hydra.sweeper.sampler.seed=0", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2")
    search = ("hydra/sweeper=optuna", *sampler, "hydra.sweeper.direction=maximize")
    arguments = ("-m", *fates, *search, "experiment=two", "jobs=2", "optim.lr=interval(0.0001,0.01)")
    done = deeplab(tmp_path, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    processes = given(tmp_path)
    assert set(processes) == {"0-0-2", "0-1-2", "1-0-2", "1-1-2"}
    drawn = [processes[f"{job}-0-2"][0] for job in (0, 1)]
    assert drawn == [processes[f"{job}-1-2"][0] for job in (0, 1)]
    assert drawn[0] != drawn[1]
    jobs = json.loads((tmp_path / "my sweep" / "sweep.json").read_text())["jobs"]
    best = yaml.safe_load((tmp_path / "my sweep" / "optimization_results.yaml").read_text())
    assert best["best_value"] == max(job["miou"] for job in jobs)


def test_a_folder_that_holds_a_sweep_is_not_written_over(run, scenes, tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").write_text("{}")
    result = run("train", "-m", *scenes, "seed=0,1", "hydra.sweep.dir=sweep")
    result.refused("holds a sweep already: go on with it by resume_sweep=")
    assert {each.name: each.read_text() for each in (tmp_path / "sweep").iterdir()} == {"sweep.json": "{}"}


def test_jobs_do_not_share_a_folder(run, scenes, tmp_path):
    result = run("train", "-m", *scenes, "seed=0,1", "hydra.sweep.dir=sweep", "hydra.sweep.subdir=same")
    result.refused("hydra.sweep.subdir=same", "jobs 0 and 1")
    assert not (tmp_path / "sweep" / "same").exists()


def test_a_sweep_that_cannot_be_continued(run, scenes, tmp_path):
    jobs = [{"number": n, "overrides": ["seed=5"], "folder": str(n), "name": "", "state": "failed"} for n in range(2)]
    empty = dict.fromkeys(("exit_code", "seconds", "miou", "miou_crf", "error"))
    document = {"arguments": ["-m", *scenes, "seed=0,1"], "jobs": [{**job, **empty} for job in jobs]}
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps(document))
    run("train", "resume_sweep=sweep").refused("Job 0 of this sweep was `seed=5` and would now be", "begin a new sweep")
    run("train", "resume_sweep=sweep", "seed=1").refused("leave out seed=1")
    run("train", "resume_sweep=nowhere").refused("there is no sweep.json in it")
    run("train", "sweep=nowhere").refused("There is no sweep=nowhere; choose one of", "voc12_subset_heads")
    run("train", "-m", *scenes, "seed=0,1", "jobs=0").refused("jobs=0: it must be a whole number, at least 1")
    assert json.loads((tmp_path / "sweep" / "sweep.json").read_text()) == document
    assert not (tmp_path / "nowhere").exists()


def test_more_gpus_than_there_are(run, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("deeplab.config.sweep_launcher.visible_gpus", lambda: ["0", "1"])
    devices = ("trainer.accelerator=auto", "trainer.devices=3,4", "hydra.sweep.dir=sweep")
    result = run("train", "-m", *scenes, *devices)
    assert (result.code, result.crashed) == (1, False)
    assert "Job 0 has failed (trainer.devices=3: this machine has 2 GPUs)" in result.err
    jobs = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["jobs"]
    assert [job["error"] for job in jobs] == [f"trainer.devices={n}: this machine has 2 GPUs" for n in (3, 4)]


def test_slurm_where_there_is_none(run, scenes, tmp_path, monkeypatch):
    sweep = ("train", "-m", *scenes, "seed=0,1", "hydra/launcher=slurm", "hydra.sweep.dir=sweep")
    monkeypatch.setenv("PATH", str(tmp_path))
    run(*sweep).refused("hydra/launcher=slurm: there is no sbatch here")
    monkeypatch.setattr("deeplab.config.sweep_launcher._slurm_is_installed", lambda: False)
    run(*sweep).refused(
        "hydra/launcher=slurm needs submitit, which is not installed: pip install -c constraints.txt '.[sweep]'"
    )
    assert not (tmp_path / "sweep" / "sweep.json").exists()


def test_what_slurm_refuses(run, scenes, tmp_path, monkeypatch):
    for name in ("sbatch", "srun"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: gpu' >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    result = run("train", "-m", *scenes, "seed=0,1", "hydra/launcher=slurm", "hydra.sweep.dir=sweep")
    result.refused("Slurm does not take the jobs (sbatch: error: invalid partition specified: gpu)")
    assert not (tmp_path / "sweep" / "0").exists() and not (tmp_path / "sweep" / "1").exists()


def test_the_command_that_wandbs_agent_builds(run, tmp_path):
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    block = (REPOSITORY / "docs" / "sweeps.md").read_text().split("```yaml\n# sweep.yaml\n")[1].split("```")[0]
    sweep = yaml.safe_load(block)
    draw = {"optim.lr": {"value": 0.0004}, "model/head": {"value": "aspp_l"}}
    assert set(draw) == set(sweep["parameters"])
    command = create_sweep_command(sweep["command"])
    given = create_sweep_command_args({"args": draw})
    filled = []
    for word in command:
        filled += given["args_no_hyphens"] if word == "${args_no_hyphens}" else [word]
    assert filled[:2] == ["deeplab", "train"]
    config = yaml.safe_load(run(*filled[1:], "--cfg", "job").worked().out)
    assert (config["optim"]["lr"], config["model"]["head"]["rates"]) == (0.0004, [6, 12, 18, 24])
    assert config["logger"]["_target_"].endswith("wandb_logger")
