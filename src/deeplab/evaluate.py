"""`deeplab evaluate`: score a checkpoint on any split of any data set."""

from pathlib import Path
from typing import TYPE_CHECKING

from deeplab.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

AGAIN = "there is no metrics.json; call the command again"


def evaluate(config: "DictConfig", folder: Path) -> None:
    """Write metrics.json, per_picture.npz, predictions and pictures into `output`, or else into `folder`."""
    from deeplab.config.build import build_data, build_module, prepare_network
    from deeplab.config.build_crf import build_dense_crf
    from deeplab.config.check import check_data_section, check_device, check_numbers
    from deeplab.config.from_checkpoint import load_checkpoint, overlay, rebuild_network, which_checkpoint
    from deeplab.config.preflight import preflight, to_plain
    from deeplab.reporting.run_files import is_of_training, read_run_if_any
    from deeplab.scoring import score
    from deeplab.training.leaving import Leaving
    from deeplab.training.ranks import Ranks
    from deeplab.training.run_record import RunRecord

    own = to_plain(config)
    check_numbers(own)
    check_device(own["trainer"])
    if own["data"].get("val_limit") is not None:
        raise InputError(f"data.val_limit is for validation in training; give first_n={own['data']['val_limit']}.")
    checkpoint = which_checkpoint(own["checkpoint"])
    carried, tensors = load_checkpoint(checkpoint)
    plain = overlay(carried, config)
    plain.update({key: own[key] for key in ("trainer", "save_predictions", "num_pictures")})
    check_numbers(plain)
    check_data_section(plain["data"])
    preflight({"data": plain["data"]})
    network = rebuild_network(plain, tensors, checkpoint)
    # What is wrong with these is known before anything is written, or an earlier evaluation in the folder is lost.
    build_dense_crf(plain["crf"], len(plain["data"]["class_names"]))
    data = build_data(plain, network)
    data.test_first_n = own["first_n"]
    split = own["split"] or plain["data"]["val_split"]
    data.test_pictures(split)
    target = Path(own["output"]).expanduser() if own["output"] else folder
    if is_of_training(read_run_if_any(target)):
        raise InputError(f"output={target} is the folder of a training, whose scores would be lost; name another.")
    record = RunRecord(target, name=f"evaluate {plain['name']}", seed=plain["seed"], checkpoint=checkpoint)
    with Leaving(AGAIN) as leaving, record, Ranks(leaving, own["trainer"]["lost_after"], record.end) as ranks:
        prepare_network(network, own["trainer"])
        module = build_module(plain, network, freeze_bn=True)
        score(plain, module, data, split, target, own["skip_unreadable"], leaving=leaving, ranks=ranks)


def main() -> None:
    """Entry point."""
    from deeplab.config.launch import run

    run("evaluate", evaluate, imports="deeplab.scoring")


if __name__ == "__main__":
    main()
