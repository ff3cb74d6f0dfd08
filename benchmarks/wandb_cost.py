"""What logging with W&B offline costs a training: runs with logger=csv and logger=wandb by turns, in one process.

    python benchmarks/wandb_cost.py [--steps 100] [--rounds 3] [--val-every 50] [OVERRIDES ...]

Each run is `deeplab train` as configured (experiment=demo unless overrides say otherwise) with all that the logger
does: losses, rates, gradient norm, pictures with masks and tables after every validation. Printed for each logger:
seconds of beginning a run, of the fit (by the clock, and of this process's processor time), of ending it, and of all;
and the medians of the rounds' ratios. Beginning and ending do not grow with a run's length, so the ratio of the fit is
the one that counts in a training of hours. Aim: under 2 %.
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ["WANDB_MODE"] = "offline"

from hydra import compose, initialize_config_dir

from deeplab.config import schema
from deeplab.config.build import (
    build_crf_evaluation,
    build_data,
    build_loggers,
    build_module,
    build_network,
    build_trainer,
)
from deeplab.config.explain import conf_dir
from deeplab.config.preflight import to_plain
from deeplab.training.media_logging import ValidationMedia, closing
from deeplab.training.seeding import RankSeed, seed_everything
from deeplab.training.throughput import Throughput

Times = dict[str, float]


def now() -> tuple[float, float]:
    mine = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(each.ru_utime + each.ru_stime for each in mine)


def run(overrides: list[str], logger: str, folder: Path) -> Times:
    plain: dict[str, Any] = to_plain(compose("train", [*overrides, f"logger={logger}"]))
    seed_everything(plain["seed"])
    network = build_network(plain["model"], len(plain["data"]["class_names"]))
    data, module = build_data(plain, network), build_module(plain, network, freeze_bn=False)
    data.fingerprints()
    start = now()
    loggers = build_loggers(plain, folder)
    with closing(loggers) as shown:
        names, steps = plain["data"]["class_names"], plain["optim"]["max_steps"]
        media = ValidationMedia(shown, names)
        crf = build_crf_evaluation(plain["crf"], names, media.add_refined if shown else None)
        callbacks = [RankSeed(0), Throughput(plain["optim"]["global_batch_size"]), *([crf] if crf else [])]
        callbacks += [media] if shown else []
        trainer = build_trainer(plain["trainer"], callbacks, loggers, folder, steps, True)
        for each in shown:
            _ = each.experiment  # type: ignore[attr-defined]
        begun = now()
        trainer.fit(module, datamodule=data)
        trained = now()
    ended = now()
    return {
        "begin": begun[0] - start[0],
        "fit": trained[0] - begun[0],
        "fit, processor": trained[1] - begun[1],
        "end": ended[0] - trained[0],
        "all": ended[0] - start[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--val-every", type=int, default=50)
    parser.add_argument("overrides", nargs="*", default=["experiment=demo"])
    options = parser.parse_args()
    schema.register()
    overrides = [
        *options.overrides,
        f"optim.max_steps={options.steps}",
        f"trainer.val_every_n_steps={options.val_every}",
        "trainer.progress_bar=false",
        "data.num_workers=0",
    ]
    times: dict[str, list[Times]] = {"csv": [], "wandb": []}
    with tempfile.TemporaryDirectory() as top, initialize_config_dir(str(conf_dir()), version_base="1.3"):
        run([*overrides, "optim.max_steps=2", "trainer.val_every_n_steps=2"], "wandb", Path(top, "warm"))
        for number in range(options.rounds):
            for logger in ("csv", "wandb") if number % 2 == 0 else ("wandb", "csv"):
                times[logger].append(run(overrides, logger, Path(top, f"{number}_{logger}")))
    for part in times["csv"][0]:
        csv, wandb = ([each[part] for each in times[logger]] for logger in ("csv", "wandb"))
        ratio = median(b / a for a, b in zip(csv, wandb, strict=True))
        shown = f"   ratio {ratio:.3f}" if part.startswith(("fit", "all")) else ""
        print(f"{part:16} csv {median(csv):8.2f} s   wandb {median(wandb):8.2f} s{shown}")


if __name__ == "__main__":
    main()
