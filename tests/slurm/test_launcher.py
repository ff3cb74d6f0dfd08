"""hydra/launcher=slurm on a real Slurm: sweeps of jobs over two nodes."""

import json

import pytest

pytestmark = pytest.mark.slurm
NODES = (
    "hydra/launcher=slurm_nodes",
    "hydra.launcher.tasks_per_node=1",
    "hydra.launcher.cpus_per_task=1",
    "trainer=ddp",
    "trainer.num_nodes=2",
    "trainer.devices=1",
)


def test_a_sweep_of_two_jobs_on_two_nodes_each(start, tmp_path):
    code, out = start("-m", *NODES, "optim.max_steps=2", "seed=0,1", "hydra.sweep.dir=sweep").ended(150)
    assert code == 0, out
    for number in (0, 1):
        folder = tmp_path / "sweep" / str(number)
        run = json.loads((folder / "run.json").read_text())
        assert (run["state"], run["seed"]) == ("finished", number)
        assert "2 processes x 2" in (folder / "train.log").read_text()
        assert json.loads((folder / "metrics.json").read_text())["num_images"] == 2
