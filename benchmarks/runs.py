"""`deeplab runs` over a thousand run folders: seconds by the clock and of the processor, its start included.

    python benchmarks/runs.py [--runs 1000] [--rounds 5]

The folders are made for it: sweeps of ten runs with what `deeplab train` writes for 21 classes (run.json and
metrics.json with the whole configuration, 40 widths near boundaries, curves of 200 rows); one run in ten is still
running. Aim: under 2 s. Printed beside it are the bare reading of the same files, which nothing that looks into all of
them can do without, and what python with rich costs that does nothing.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
from hydra import compose, initialize_config_dir

from deeplab.config import schema
from deeplab.config.explain import conf_dir
from deeplab.config.preflight import to_plain
from deeplab.metrics.boundary import BoundaryTally
from deeplab.reporting.boundary import boundary_document
from deeplab.reporting.liveness import process_facts
from deeplab.reporting.run_files import metrics_document, write_json

READ = """
import json, pathlib, sys
for name in ("run.json", "metrics.json"):
    for path in pathlib.Path(sys.argv[1]).rglob(name):
        json.loads(path.read_bytes())
"""


def make(top: Path, count: int) -> None:
    schema.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        overrides = ["experiment=voc12_vgg16_aspp_s", "data.root=VOCdevkit", "init.path=vgg16.pth"]
        config = to_plain(compose("train", overrides))
    rng = np.random.default_rng(0)
    names = config["data"]["class_names"]
    matrices = [rng.integers(0, 10**6, (21, 21)) for _ in range(2)]
    tally = BoundaryTally(21, void_outlines=True)
    tally.bands[:] = rng.integers(0, 10**6, tally.bands.shape)
    tally.outlines[:] = rng.integers(1, 10**6, tally.outlines.shape)
    document = metrics_document(
        *matrices,
        class_names=names,
        num_images=1449,
        num_skipped=0,
        num_crf_skipped=0,
        config=config,
        seconds=1.0,
        boundary=boundary_document(tally, tally, names),
    )
    rows = "".join(f"{10 * n},{n % 9},{rng.random()},{rng.random()},{rng.random()}\n" for n in range(200))
    for number in range(count):
        folder = top / "sweeps" / f"{number // 10:03}" / str(number % 10)
        running = number % 10 == 9
        facts = {
            "state": "running" if running else "finished",
            "started": "2026-01-01T00:00:00+0000",
            "seconds": 100.0,
            "process": process_facts(),
            "config": config | {"seed": number % 10},
            "overrides": [*overrides, f"seed={number % 10}"],
            "choices": {"model/head": "aspp_s"},
        }
        write_json(folder / "run.json", facts)
        if not running:
            write_json(folder / "metrics.json", document)
        (folder / "metrics.csv").write_text(f"step,epoch,train/loss,val/miou,val/miou_crf\n{rows}")


def timed(arguments: Sequence[str]) -> tuple[float, float]:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env={**os.environ})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.runs)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.json"))
        print(f"{options.runs} run folders, {size / 1e6:.0f} MB of JSON")
        ways = {
            "deeplab runs": ["-m", "deeplab.cli", "runs", folder],
            "deeplab runs --last 0": ["-m", "deeplab.cli", "runs", folder, "--last", "0"],
            "deeplab runs --json": ["-m", "deeplab.cli", "runs", folder, "--json", "--last", "0"],
            "reading the JSON alone": ["-c", READ, folder],
            "importing rich alone": ["-c", "import rich.table, rich.console"],
        }
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, arguments in ways.items():
                measured[name].append(timed(arguments))
        for name, times in measured.items():
            clock, cpu = (median(each) for each in zip(*times, strict=True))
            least = min(each[0] for each in times)
            print(f"{name:24} {clock:6.2f} s by the clock (least {least:.2f}), {cpu:6.2f} s of processor time")
        last = subprocess.run(
            [sys.executable, *ways["deeplab runs --json"]], capture_output=True, text=True, check=True
        )
        assert len(json.loads(last.stdout)) == options.runs


if __name__ == "__main__":
    main()
