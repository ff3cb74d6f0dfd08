"""The network of `deeplab search-crf checkpoint=...`."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeplab.config.build import build_inference, place_network
from deeplab.config.check import check_device
from deeplab.config.from_checkpoint import load_checkpoint, overlay, rebuild_network, which_checkpoint
from deeplab.config.make import make
from deeplab.config.preflight import preflight
from deeplab.crf_search.network_scores import NetworkScores
from deeplab.data.labels import LabelRule
from deeplab.data.splits import open_split
from deeplab.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

Plain = dict[str, Any]


def open_network(config: "DictConfig", own: Plain) -> tuple[NetworkScores, LabelRule, Plain, Plain]:
    """Open a checkpoint: the scores of its network, the rule of its labels, its CRF section, and what identifies it.

    Raises InputError as its parts do.
    """
    if own["images"] is not None or own["labels"] is not None:
        raise InputError("images and labels go with probs=FOLDER; with a checkpoint name the pictures by data=.")
    check_device(own["trainer"])
    checkpoint = which_checkpoint(own["checkpoint"])
    carried, tensors = load_checkpoint(checkpoint)
    plain = overlay(carried, config)
    preflight({"data": plain["data"]})
    network = rebuild_network(plain, tensors, checkpoint)
    place_network(network, own["trainer"])
    data = plain["data"]
    split = own["search"]["split"] or data["val_split"]
    layout = make(data["layout"], "data.layout")
    pictures = open_split(layout, split, data["train_split"], data["hold_out"], data["hold_out_seed"])
    rule = LabelRule(len(data["class_names"]), data["label_map"], data["ignore_label"])
    rule.check_set(pictures)
    with Path(checkpoint).expanduser().open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    source = NetworkScores(pictures, rule, network, build_inference(plain["inference"]))
    identity = {"checkpoint_sha256": digest, "data": data, "inference": plain["inference"]}
    return source, rule, plain["crf"], identity
