"""What a sweep adds to its jobs: seconds a job over calling `deeplab train` by hand for each.

    OMP_NUM_THREADS=1 python benchmarks/sweep_overhead.py [--jobs 3] [--rounds 2]

Both ways run the same short trainings one after the other, in turns. The aim is at most 5 s a job.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHORT = (
    *(
        "experiment=demo",
        "model.backbone.width=0.125",
        "data.crop_size=33",
        "data.num_workers=0",
        "data.layout.height=40",
    ),
    *(
        "data.layout.width=48",
        "data.layout.sizes={train:8,val:1,test:1}",
        "optim.max_steps=1",
        "optim.global_batch_size=2",
    ),
    *(
        "optim.loss_group=2",
        "crf=none",
        "num_pictures=0",
        "trainer.progress_bar=false",
        "trainer.val_every_n_steps=null",
    ),
)


def seconds(*arguments: str) -> float:
    """How long `deeplab train ARGUMENTS` takes."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        command = [sys.executable, "-m", "deeplab.cli", "train", *arguments]
        subprocess.run(command, cwd=Path(folder), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    seeds = ",".join(map(str, range(options.jobs)))
    by_hand, swept = [], []
    for number in range(options.rounds):
        by_hand.append(sum(seconds(*SHORT, f"seed={seed}") for seed in range(options.jobs)) / options.jobs)
        swept.append(seconds("-m", *SHORT, f"seed={seeds}") / options.jobs)
        print(f"round {number}: {by_hand[-1]:.2f} s a job by hand, {swept[-1]:.2f} s a job in the sweep", flush=True)
    added = statistics.median(b - a for a, b in zip(by_hand, swept, strict=True))
    verdict = "within" if added <= 5 else "over"
    print(f"The sweep adds {added:.2f} s a job ({options.jobs} jobs; {verdict} the aim of 5 s).")


if __name__ == "__main__":
    main()
