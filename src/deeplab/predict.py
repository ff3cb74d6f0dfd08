"""`deeplab predict`: label maps and overlays for a photo or a folder of photos."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)


def predict(config: "DictConfig", folder: Path) -> None:
    """Predict every photo of `input` into `output`; ends with status 1, and no export, if one could not be read."""
    from deeplab.config.build import build_inference, place_network
    from deeplab.config.build_crf import build_dense_crf
    from deeplab.config.check import check_device, check_numbers
    from deeplab.config.from_checkpoint import load_checkpoint, overlay, rebuild_network, which_checkpoint
    from deeplab.config.preflight import to_plain
    from deeplab.data.palette import class_palette
    from deeplab.data.reading import read_picture
    from deeplab.predict_files import predict as predict_files
    from deeplab.predict_files import refine_by
    from deeplab.reporting.picture_jobs import check_writable, plan
    from deeplab.submission.export import export
    from deeplab.submission.formats import server_format
    from deeplab.submission.validate import photo_sizes

    own = to_plain(config)
    check_numbers(own)
    check_device(own["trainer"])
    checkpoint = which_checkpoint(own["checkpoint"])
    carried, tensors = load_checkpoint(checkpoint)
    plain = overlay(carried, config)
    check_numbers(plain)
    source, output = Path(own["input"]).expanduser(), Path(own["output"]).expanduser()
    server = None if own["export"] is None else server_format(own["export"], "export")
    if server is not None:
        server.check_classes(plain["data"]["class_names"])
        jobs = {server.id_of(job.source.name): job for job in plan(source, output)}
        sizes = photo_sizes([job.source for job in plan(source, output)], server)
        check_writable(output)
    network = rebuild_network(plain, tensors, checkpoint)
    place_network(network, own["trainer"])
    crf = build_dense_crf(plain["crf"], len(plain["data"]["class_names"]))
    outcome = predict_files(
        network,
        build_inference(plain["inference"]),
        None if crf is None else refine_by(crf),
        source,
        output,
        plain["data"]["class_names"],
        class_palette(plain["data"]["palette"], len(plain["data"]["class_names"])),
        read_picture=read_picture,
        save_probabilities=own["save_probabilities"],
        max_crf_pixels=plain["crf"]["max_pixels"],
    )
    log.info("%s", outcome.sentence())
    if outcome.exit_code:
        sys.exit(outcome.exit_code)
    if server is not None:
        archive = export(server, {name: job.labels for name, job in jobs.items()}, sizes, output)
        number = f"{len(jobs)} pictures" if len(jobs) == server.count else f"{len(jobs)} of {server.count} pictures"
        log.info("%s, as the server of %s takes it: %s.", archive, server.name, number)


def main() -> None:
    """Entry point."""
    from deeplab.config.launch import run

    run("predict", predict, imports="deeplab.predict_files")


if __name__ == "__main__":
    main()
