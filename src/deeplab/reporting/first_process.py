"""Which of a run's processes speaks and writes for all; asked before anything heavy is imported."""

import os


def is_first_process() -> bool:
    """Whether this is process 0 of all, as torchrun (RANK), Slurm's srun (SLURM_PROCID) or Lightning numbers them."""
    if "RANK" in os.environ:
        return int(os.environ["RANK"]) == 0
    return all(int(os.environ.get(name, "0")) == 0 for name in ("SLURM_PROCID", "LOCAL_RANK", "NODE_RANK"))
