"""Score a network on a split and write what a run's folder holds: shared by `deeplab train` and `deeplab evaluate`."""

import logging
from pathlib import Path
from typing import Any

from deeplab.config.build import build_crf_evaluation, build_trainer
from deeplab.data.module import SegmentationData
from deeplab.reporting.run_files import metrics_document, write_json, write_per_picture
from deeplab.reporting.tables import print_results
from deeplab.training.evaluation import EvaluationFiles
from deeplab.training.module import SegmentationModule

log = logging.getLogger(__name__)

Plain = dict[str, Any]


def score(config: Plain, module: SegmentationModule, data: SegmentationData, split: str, folder: Path) -> Plain:
    """Evaluate `split` before and after the CRF, write and print the results; return what metrics.json holds."""
    names = config["data"]["class_names"]
    files = EvaluationFiles(
        folder,
        names,
        data.palette,
        with_crf=config["crf"]["backend"] != "none",
        save_predictions=config["save_predictions"],
        num_pictures=config["num_pictures"],
    )
    crf = build_crf_evaluation(config["crf"], names, on_refined=files.add_refined)
    callbacks = [files] if crf is None else [files, crf]
    trainer = build_trainer(config["trainer"], callbacks, loggers=False, folder=folder)
    trainer.test(module, dataloaders=data.test_dataloader(split), verbose=False)
    skipped = 0 if crf is None else crf.num_skipped
    document = metrics_document(files, names, config, split=split, num_crf_skipped=skipped)
    if trainer.is_global_zero:
        write_per_picture(folder / "per_picture.npz", files.confusion, files.confusion_crf)
        write_json(folder / "metrics.json", document)
        print_results(document)
        log.info("Everything lies in %s", folder)
    return document
