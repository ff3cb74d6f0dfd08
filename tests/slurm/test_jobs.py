"""Jobs on a real Slurm: a sweep, a job told to leave, a node that dies, a restarted controller: the same weights.

All in this file, which one process of the tests takes, so that there is one cluster and one undisturbed sweep.
"""

import json
import shlex
import sys
from pathlib import Path

import pytest
import torch

from slurm.conftest import LAUNCHER, NODES, STEPS, TINY, TRAINING

pytestmark = pytest.mark.slurm

BATCH = """#!/bin/bash
#SBATCH --nodes=2 --ntasks-per-node=1 --cpus-per-task=1 --time=60 --signal=USR1@60 --requeue --open-mode=append
srun {command} resume=auto hydra.run.dir={folder}
status=$?
[ $status -ne 75 ] || scontrol requeue "$SLURM_JOB_ID"
exit $status
"""


def weights(folder: Path) -> dict[str, torch.Tensor]:
    loaded = torch.load(folder / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
    assert loaded["global_step"] == STEPS
    return loaded["state_dict"]


def same(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def state(run: Path) -> str:
    return json.loads((run / "run.json").read_text())["state"]


def assert_resumed_and_same(run: Path, undisturbed: Path, printed: str) -> None:
    assert state(run) == "finished", printed
    assert "Resuming from" in (run / "train.log").read_text()
    assert same(run, undisturbed / "0")


def submit(cluster, folder: Path) -> str:
    """Put a batch script of one's own into the queue, for a run in folder/run; the job's number."""
    command = shlex.join([sys.executable, "-m", "deeplab.train", *TINY, *NODES, *TRAINING, "evaluate=none", "seed=0"])
    script = folder / "job.sh"
    script.write_text(BATCH.format(command=command, folder=folder / "run"))
    return cluster.call("sbatch", "--parsable", f"--output={folder / 'out'}", str(script)).strip()


def restarts(cluster, job: str) -> int:
    [number] = [
        each.removeprefix("Restarts=")
        for each in cluster.call("scontrol", "show", "job", job).split()
        if each.startswith("Restarts=")
    ]
    return int(number)


def test_a_sweep_of_two_jobs_on_two_nodes_each(undisturbed):
    for number in (0, 1):
        folder = undisturbed / str(number)
        run = json.loads((folder / "run.json").read_text())
        assert (run["state"], run["seed"]) == ("finished", number)
        assert "2 processes x 2" in (folder / "train.log").read_text()
        assert json.loads((folder / "metrics.json").read_text())["num_images"] == 2


def test_a_job_that_is_told_goes_back_into_the_queue(cluster, start, undisturbed, tmp_path):
    run = tmp_path / "told" / "0"
    told = start("-m", *LAUNCHER, *NODES, *TRAINING, "evaluate=none", "seed=0", "hydra.sweep.dir=told")
    cluster.wait((run / "checkpoints" / "last.ckpt").exists, 300, "a checkpoint")
    [job] = cluster.call("squeue", "--noheader", "--format=%i").split()
    cluster.call("scancel", "--signal=USR2", job)
    cluster.wait(lambda: state(run) == "preempted", 120, "the end of the job")
    code, out = told.ended(420)
    assert code == 0, out
    assert_resumed_and_same(run, undisturbed, out)


def test_a_plain_batch_job_that_is_told_requeues_itself(cluster, start, undisturbed, tmp_path):
    run = tmp_path / "run"
    job = submit(cluster, tmp_path)
    cluster.wait((run / "checkpoints" / "last.ckpt").exists, 300, "a checkpoint")
    cluster.call("scancel", "--signal=USR1", job)
    cluster.wait(lambda: not cluster.states(), 420, "the end of the job")
    assert_resumed_and_same(run, undisturbed, (tmp_path / "out").read_text())


def test_a_controller_that_is_restarted_and_then_a_node_that_dies(cluster, start, undisturbed, tmp_path):
    run = tmp_path / "run"
    checkpoint = run / "checkpoints" / "last.ckpt"
    job = submit(cluster, tmp_path)
    cluster.wait(checkpoint.exists, 300, "a checkpoint")
    cluster.control("restart")
    restarted = checkpoint.stat().st_mtime_ns
    cluster.wait(lambda: checkpoint.stat().st_mtime_ns > restarted, 30, "a checkpoint after the restart")
    assert (cluster.states(), restarts(cluster, job), state(run)) == (["RUNNING"], 0, "running")
    cluster.control("kill", "n2")
    cluster.wait(lambda: restarts(cluster, job) == 1, 90, "the requeue by Slurm")
    cluster.control("revive", "n2")
    cluster.wait(lambda: not cluster.states(), 420, "the end of the job")
    assert "Node failure on n2" in (tmp_path / "out").read_text()
    assert_resumed_and_same(run, undisturbed, (tmp_path / "out").read_text())
