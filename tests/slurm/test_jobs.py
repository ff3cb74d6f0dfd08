"""Jobs on a real Slurm: a sweep; jobs told to leave, killed, cancelled; a node that dies; a restarted controller.

All in this file, which one process of the tests takes, so that there is one cluster and one undisturbed sweep.
"""

import json
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest
import torch

from slurm.conftest import LAUNCHER, NODES, STEPS, TINY, TRAINING

pytestmark = pytest.mark.slurm

BATCH = """#!/bin/bash
#SBATCH --nodes=2 --ntasks-per-node=1 --cpus-per-task=1 --time=60 --signal=USR1@60 --requeue --open-mode=append
srun --wait=600 {command} resume=auto hydra.run.dir={folder}
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
    """Under a batch job, and under one of submitit's."""
    run, told_run = tmp_path / "run", tmp_path / "told" / "0"
    checkpoint, told_checkpoint = (each / "checkpoints" / "last.ckpt" for each in (run, told_run))
    job = submit(cluster, tmp_path)
    told = start("-m", *LAUNCHER, *NODES, *TRAINING, "evaluate=none", "seed=0", "hydra.sweep.dir=told")
    cluster.wait(lambda: len(cluster.states()) == 2, 60, "the second job")
    [told_job] = {*cluster.call("squeue", "--noheader", "--format=%i").split()} - {job}
    cluster.wait(lambda: checkpoint.exists() and told_checkpoint.exists(), 300, "a checkpoint of both")
    cluster.control("restart")
    restarted = checkpoint.stat().st_mtime_ns
    cluster.wait(lambda: checkpoint.stat().st_mtime_ns > restarted, 30, "a checkpoint after the restart")
    assert (cluster.states(), restarts(cluster, job), state(run)) == (["RUNNING"] * 2, 0, "running")
    cluster.control("kill", "n2")
    cluster.wait(lambda: restarts(cluster, job) == restarts(cluster, told_job) == 1, 90, "the requeue by Slurm")
    cluster.control("revive", "n2")
    cluster.wait(lambda: not cluster.states(), 420, "the end of the jobs")
    assert "Node failure on n2" in (tmp_path / "out").read_text()
    assert_resumed_and_same(run, undisturbed, (tmp_path / "out").read_text())
    code, out = told.ended(60)
    assert code == 0, out
    assert_resumed_and_same(told_run, undisturbed, out)


def processes(sweep: Path, number: int) -> list[int]:
    """Those of a job of submitit's that srun started on the nodes."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words, values = ((place / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:
            continue
        ours = b"submitit.core._submit" in words and any(str(sweep).encode() in word for word in words)
        if ours and b"srun" not in words[0] and f"SLURM_ARRAY_TASK_ID={number}".encode() in values:
            found.append(int(place.name))
    return found


def test_jobs_that_end_without_a_word_cost_no_other_and_are_tried_again(cluster, start, tmp_path):
    sweep = tmp_path / "sweep"
    one_node = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "trainer=cpu")
    told = start("-m", *one_node, *TRAINING, "evaluate=none", "seed=0,1,2", "hydra.sweep.dir=sweep")
    begun = [sweep / str(number) / "checkpoints" / "last.ckpt" for number in (0, 1)]
    cluster.wait(lambda: all(each.exists() for each in begun), 300, "a checkpoint of both jobs")
    [pid] = processes(sweep, 0)
    os.kill(pid, signal.SIGKILL)  # as the kernel does where memory runs out
    array = cluster.call("squeue", "--noheader", "--array", "--format=%F").split()[0]
    cluster.call("scancel", f"{array}_1")
    code, out = told.ended(420)
    assert code == 1, out
    jobs = json.loads((sweep / "sweep.json").read_text())["jobs"]
    assert [job["state"] for job in jobs] == ["failed", "failed", "finished"], out
    assert "FAILED" in jobs[0]["error"] and "task 0: Killed" in jobs[0]["error"]
    assert "CANCELLED" in jobs[1]["error"]
    assert "Traceback" not in out

    before = begun[0].stat().st_mtime_ns, (sweep / "2" / "run.json").stat().st_mtime_ns
    code, out = start.as_given(f"resume_sweep={sweep}").ended(420)
    assert code == 0, out
    assert "Resuming from" in (sweep / "0" / "train.log").read_text()
    after = begun[0].stat().st_mtime_ns, (sweep / "2" / "run.json").stat().st_mtime_ns
    assert after[0] > before[0] and after[1] == before[1]
    assert [state(sweep / str(number)) for number in (0, 1, 2)] == ["finished"] * 3
