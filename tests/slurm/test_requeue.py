"""A job that Slurm ends, or a node that dies, in mid-run: the same weights in the end."""

import json
import shlex
import sys
from pathlib import Path

import pytest
import torch

from slurm.conftest import TINY

pytestmark = pytest.mark.slurm
STEPS = 300
NODES = (
    "hydra/launcher=slurm_nodes",
    "hydra.launcher.tasks_per_node=1",
    "hydra.launcher.cpus_per_task=1",
    "trainer=ddp",
    "trainer.num_nodes=2",
    "trainer.devices=1",
    "trainer.checkpoint_every_n_steps=20",
    "evaluate=none",
    f"optim.max_steps={STEPS}",
)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    loaded = torch.load(folder / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
    assert loaded["global_step"] == STEPS
    return loaded["state_dict"]


def same(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_job_that_is_told_goes_back_into_the_queue_and_ends_as_an_undisturbed_one(cluster, start, tmp_path):
    run, log = tmp_path / "told" / "0", tmp_path / "told" / "0" / "train.log"
    told = start("-m", *NODES, "seed=0", "hydra.sweep.dir=told")
    checkpoint = run / "checkpoints" / "last.ckpt"
    cluster.wait(checkpoint.exists, 120, "a checkpoint")
    [job] = cluster.call("squeue", "--noheader", "--format=%i").split()
    cluster.call("scancel", "--signal=USR2", job)
    cluster.wait(lambda: json.loads((run / "run.json").read_text())["state"] == "preempted", 60, "the end of the job")
    code, out = told.ended(300)
    assert code == 0, out
    assert "Resuming from" in log.read_text()
    assert json.loads((run / "run.json").read_text())["state"] == "finished"
    code, out = start("-m", *NODES, "seed=0", "hydra.sweep.dir=undisturbed").ended(150)
    assert code == 0, out
    assert same(run, tmp_path / "undisturbed" / "0")


BATCH = """#!/bin/bash
#SBATCH --nodes=2 --ntasks-per-node=1 --cpus-per-task=1 --time=60 --signal=USR1@60 --requeue --open-mode=append
srun {command} resume=auto hydra.run.dir={folder}
status=$?
[ $status -ne 75 ] || scontrol requeue "$SLURM_JOB_ID"
exit $status
"""


def test_a_plain_batch_job_requeues_itself_and_ends_as_an_undisturbed_one(cluster, tmp_path):
    nodes = [each for each in NODES if not each.startswith("hydra")]
    command = shlex.join([sys.executable, "-m", "deeplab.train", *TINY, *nodes])
    for name in ("told", "undisturbed"):
        script, run = tmp_path / f"{name}.sh", tmp_path / name
        script.write_text(BATCH.format(command=command, folder=run))
        cluster.call("sbatch", f"--output={tmp_path / name}.out", str(script))
        if name == "told":
            cluster.wait((run / "checkpoints" / "last.ckpt").exists, 120, "a checkpoint")
            [job] = cluster.call("squeue", "--noheader", "--format=%i").split()
            cluster.call("scancel", "--signal=USR1", job)
        cluster.wait(lambda: not cluster.states(), 240, "the end of the job")
        assert json.loads((run / "run.json").read_text())["state"] == "finished", (tmp_path / f"{name}.out").read_text()
    assert "Resuming from" in (tmp_path / "told" / "train.log").read_text()
    assert same(tmp_path / "told", tmp_path / "undisturbed")
