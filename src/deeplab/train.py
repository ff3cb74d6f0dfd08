"""`deeplab train`: train a network, then score the chosen checkpoint before and after the CRF."""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeplab.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from deeplab.training.leaving import Leaving
    from deeplab.training.module import SegmentationModule
    from deeplab.training.ranks import Ranks
    from deeplab.training.run_record import RunRecord

log = logging.getLogger(__name__)


def train(config: "DictConfig", folder: Path) -> None:
    """Train and evaluate as `config` says; everything that is written lies in `folder`."""
    import torch

    from deeplab.config.build import (
        build_data,
        build_loggers,
        build_module,
        build_network,
        freeze,
        initialise,
        prepare_network,
        read_initial_weights,
    )
    from deeplab.config.check import check, check_crop
    from deeplab.config.from_checkpoint import check_resume
    from deeplab.config.preflight import to_plain
    from deeplab.config.recorded import recorded
    from deeplab.config.resume import leave_another_run_alone, resume_from
    from deeplab.initial_weights import place_initial_weights
    from deeplab.scoring import discard_scores, score
    from deeplab.training.leaving import Leaving
    from deeplab.training.media_logging import closing
    from deeplab.training.ranks import Ranks
    from deeplab.training.run_record import RunRecord
    from deeplab.training.seeding import seed_everything

    plain = to_plain(config)
    check(plain)
    with torch.device("meta"):
        draft = build_network(plain["model"], len(plain["data"]["class_names"]))
    check_crop(plain, draft)
    freeze(draft, plain["optim"]["freeze"])
    data = build_data(plain, draft)
    resume = resume_from(plain["resume"], folder)
    goes_on = resume is not None and folder.resolve() in resume.resolve().parents
    if resume is not None:
        check_resume(plain, draft, data, resume)
    if not goes_on:
        leave_another_run_alone(folder)
    record = RunRecord(folder, name=plain["name"], seed=plain["seed"], **recorded(plain))
    with Leaving() as leaving, record, Ranks(leaving, plain["trainer"]["lost_after"], record.end) as ranks:
        seed_everything(plain["seed"])
        place_initial_weights(plain)
        weights = read_initial_weights(plain)
        network = build_network(plain["model"], len(plain["data"]["class_names"]))
        if goes_on:
            record.go_on()
        else:
            discard_scores(folder)
        freeze_bn = initialise(network, plain, weights)
        freeze(network, plain["optim"]["freeze"])
        prepare_network(network, plain["trainer"])
        if record.is_writer:
            record.update(data=data.fingerprints())
            _tell_differences(plain["rerun_of"], folder)
        module = build_module(plain, network, freeze_bn)
        loggers = build_loggers(plain, folder)
        with closing(loggers) as shown:
            best, last = _fit(plain, module, data, folder, _Run(record, leaving, ranks, resume, loggers))
            chosen = _chosen(plain["evaluate"], best, last)
            if chosen is not None:
                _load_network(module, chosen)
                split = plain["data"]["val_split"]
                document = score(plain, module, data, split, folder, leaving=leaving, ranks=ranks)
                if document is not None:
                    for each in shown:
                        each.show_result(document, folder)


@dataclass
class _Run:
    """What surrounds a training."""

    record: "RunRecord"
    leaving: "Leaving"
    ranks: "Ranks"
    resume: Path | None
    loggers: list[Any]


def _fit(
    plain: dict[str, Any], module: "SegmentationModule", data: Any, folder: Path, run: _Run
) -> tuple[Path | None, Path]:
    """Train; return the best checkpoint (None without validation) and the last."""
    from deeplab.config.build import build_callbacks, build_crf_evaluation, build_trainer
    from deeplab.config.effective_batch import effective_batch
    from deeplab.config.same import what_is_the_same
    from deeplab.reporting.run_files import CHECKPOINTS, PREVIOUS
    from deeplab.training.checkpoint_writing import WholeFiles
    from deeplab.training.checkpoints import checkpoint_callbacks
    from deeplab.training.finite_loss import NonFiniteLossError
    from deeplab.training.leaving import LeaveBetweenBatches
    from deeplab.training.media_logging import MediaLogger, ValidationMedia
    from deeplab.training.seeding import RankSeed
    from deeplab.training.throughput import Throughput, peak_memory

    optim, settings = plain["optim"], plain["trainer"]
    throughput = Throughput(optim["global_batch_size"])
    last_is_damaged = run.resume is not None and run.resume.name == PREVIOUS
    files = WholeFiles(stops=settings["if_checkpoint_fails"] == "stop", keep_replaced=not last_is_damaged)
    best, last = checkpoint_callbacks(folder / CHECKPOINTS, settings["checkpoint_every_n_steps"], files)
    names = plain["data"]["class_names"]
    media = ValidationMedia([each for each in run.loggers if isinstance(each, MediaLogger)], names)
    crf = build_crf_evaluation(plain["crf"], names, media.add_refined if media.loggers else None)
    callbacks = [RankSeed(plain["seed"]), LeaveBetweenBatches(run.leaving), throughput, *([crf] if crf else [])]
    callbacks += [*([media] if media.loggers else []), best, last, *build_callbacks(plain)]
    trainer = build_trainer(
        settings,
        callbacks,
        run.loggers,
        folder,
        optim["max_steps"],
        not module.freeze_bn,
        ranks=run.ranks,
        same=what_is_the_same(plain) | {"resume": str(run.resume)},
    )
    if run.resume is not None:  # into the old folder, as the documents say: its checkpoints are meant to be there
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
    log.info("Training %s: %d steps in %s", plain["name"], optim["max_steps"], folder)
    log.info("%s", effective_batch(plain, trainer.world_size, not module.freeze_bn))
    try:
        trainer.fit(module, datamodule=data, ckpt_path=run.resume, weights_only=True)
    except RuntimeError as error:
        bad = _first_cause(error, NonFiniteLossError)
        if bad is None:
            raise
        raise InputError(_not_finite(bad, folder)) from error
    run.record.trained(throughput.images_per_second, peak_memory(module.device), trainer.global_step)
    return (Path(best.best_model_path) if best.best_model_path else None), last.path


def _tell_differences(before: str | None, now: Path) -> None:
    from deeplab.reporting.repetition import what_differs

    if before is None:
        return
    sentences = what_differs(Path(before), now)
    for sentence in sentences or ["Nothing differs: code, environment, data and configuration are as they were."]:
        log.log(logging.WARNING if sentences else logging.INFO, "Repeating %s. %s", before, sentence)


def _chosen(which: str, best: Path | None, last: Path) -> Path | None:
    if which == "none":
        return None
    if which == "best" and best is None:
        log.info("No validation was run, so there is no best checkpoint: the last one is scored")
    return best if which == "best" and best is not None else last


def _load_network(module: "SegmentationModule", path: Path) -> None:
    import torch

    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["state_dict"])


def _first_cause(error: BaseException | None, kind: type[Exception]) -> Any:
    """The error of this kind that was on its way when others came up, as processes that end while a run is left."""
    while error is not None and not isinstance(error, kind):
        error = error.__context__
    return error


def _not_finite(error: Any, folder: Path) -> str:
    from deeplab.reporting.run_files import write_json

    path = folder / "not_finite.json"
    write_json(path, {"step": error.step, "ids": error.ids})
    return (
        f"The loss became NaN or infinite at step {error.step}; the pictures of that batch are listed in {path}. Look "
        "at them, or lower optim.lr, or set optim.gradient_clip."
    )


def main() -> None:
    """Entry point."""
    from deeplab.config.early_signals import answered_early

    with answered_early():
        from deeplab.config.launch import run

        run("train", train, imports="deeplab.scoring")


if __name__ == "__main__":
    main()
