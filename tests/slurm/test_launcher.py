"""hydra/launcher=slurm on a real Slurm: sweeps of jobs over two nodes."""

import json

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]


def test_a_sweep_of_two_jobs_on_two_nodes_each(undisturbed):
    for number in (0, 1):
        folder = undisturbed / str(number)
        run = json.loads((folder / "run.json").read_text())
        assert (run["state"], run["seed"]) == ("finished", number)
        assert "2 processes x 2" in (folder / "train.log").read_text()
        assert json.loads((folder / "metrics.json").read_text())["num_images"] == 2
