"""From the configuration of `deeplab search-crf` to its parts: pictures with scores, and what is not searched."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeplab.config.build_crf import build_crf_params, build_dense_crf
from deeplab.config.preflight import preflight, to_plain
from deeplab.config.schema import CRFConfig
from deeplab.crf.params import CRFParams
from deeplab.crf_search.sources import SavedScores, Source
from deeplab.data.labels import LabelRule
from deeplab.data.reading import PICTURE_SUFFIXES
from deeplab.data.samples import FilePictures, PictureSet
from deeplab.data.splits import open_split
from deeplab.errors import InputError
from deeplab.inference.score_files import KINDS, read_scores, score_file
from deeplab.reporting.run_files import read_json, write_json

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)

Plain = dict[str, Any]
INPUTS = "inputs.json"


@dataclass(frozen=True)
class Inputs:
    """What a search works on; `identity` is what must be the same for it to go on after an interruption."""

    source: Source
    num_classes: int
    fixed: CRFParams
    backend: str
    identity: Plain


def open_inputs(config: "DictConfig") -> Inputs:
    """Open a checkpoint or a folder of scores.

    Raises InputError unless there is exactly one of them, and as their parts do.
    """
    own = to_plain(config)
    if (own["checkpoint"] is None) == (own["probs"] is None):
        raise InputError("Give a network as checkpoint=FILE, or its scores as probs=FOLDER, one of the two.")
    if own["kind"] not in (None, *KINDS):
        raise InputError(f"kind={own['kind']}: choose {' or '.join(KINDS)}.")
    if own["checkpoint"] is None:
        return _from_scores(config, own)
    from deeplab.search_network import open_network  # torch and the rest of a network's needs

    source, rule, crf, identity = open_network(config, own)
    return _inputs(source, rule, crf, own, identity)


def check_same(folder: Path, identity: Plain) -> None:
    """Note what a search in `folder` works on; raise InputError if one on something else was begun there."""
    path = folder / INPUTS
    if not path.is_file():
        write_json(path, identity)
        return
    before, identity = read_json(path), json.loads(json.dumps(identity))  # JSON has no tuples, and only texts as keys
    differing = sorted(key for key in before.keys() | identity.keys() if before.get(key) != identity.get(key))
    if differing:
        raise InputError(
            f"output={folder}: the search begun there differs in {', '.join(differing)}; name another folder, or give "
            "the same."
        )


def _what_counts(data: Plain) -> Plain:
    """The keys of a data section on which pictures and labels depend."""
    keys = (
        "class_names",
        "label_map",
        "ignore_label",
        "layout",
        "train_split",
        "val_split",
        "hold_out",
        "hold_out_seed",
    )
    return {key: data[key] for key in keys if key in data}


def _from_scores(config: "DictConfig", own: Plain) -> Inputs:
    folder = Path(own["probs"]).expanduser()
    if not folder.is_dir():
        raise InputError(f"probs={folder}: there is no such folder.")
    crf = overlay_crf(config)
    if own["images"] is None and own["labels"] is None:
        pictures, rule = _from_data(own)
    else:
        pictures, rule = _from_folders(own, folder)
    source = SavedScores(pictures, rule, folder, own["align_corners"], own["kind"])
    identity = {
        "probs": str(folder.resolve()),
        "files": _files_digest(source.files),
        "data": own["data"] or {},
        "images": own["images"],
        "labels": own["labels"],
        "align_corners": own["align_corners"],
    }
    return _inputs(source, rule, crf, own, identity)


def overlay_crf(config: "DictConfig") -> Plain:
    """The CRF section over its defaults; raises InputError for keys or types that it does not have."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from deeplab.config.explain import explain

    try:
        plain: Plain = to_plain(OmegaConf.merge(OmegaConf.structured(CRFConfig), config.get("crf") or {}))
    except OmegaConfBaseException as error:
        raise InputError(f"crf: {explain(error)}") from error
    return plain


def _inputs(source: Source, rule: LabelRule, crf: Plain, own: Plain, identity: Plain) -> Inputs:
    backend = "auto" if crf["backend"] == "none" else crf["backend"]
    dense = build_dense_crf({**crf, "backend": backend})
    assert dense is not None
    fixed = build_crf_params(crf)
    search = own["search"]
    kept = {key: value for key, value in vars(fixed).items() if key not in search["coarse"]}
    identity["data"] = _what_counts(identity["data"])
    identity |= {"split": search["split"], "crf": kept, "backend": dense.backend}
    return Inputs(source, rule.num_classes, fixed, dense.backend, identity)


def _from_data(own: Plain) -> tuple[PictureSet, LabelRule]:
    from deeplab.config.make import make

    data = own["data"] or {}
    if "layout" not in data:
        raise InputError(
            "probs needs the pictures and their labels: data=NAME data.root=FOLDER, or images=FOLDER labels=FOLDER."
        )
    preflight(data)
    layout = make(data["layout"], "data.layout")
    split = own["search"]["split"] or data.get("val_split", "val")
    held_out = data.get("hold_out", 0), data.get("hold_out_seed", 0)
    pictures = open_split(layout, split, data.get("train_split", "train"), *held_out)
    return pictures, _rule(data, pictures)


def _from_folders(own: Plain, probs: Path) -> tuple[PictureSet, LabelRule]:
    for key in ("images", "labels"):
        if own[key] is None or not Path(own[key]).expanduser().is_dir():
            raise InputError(f"{key}={own[key]}: there is no such folder; images and labels go together.")
    if own["search"]["split"] is not None:
        raise InputError("search.split: folders given as images and labels have no splits; leave it out.")
    images, labels = (Path(own[key]).expanduser() for key in ("images", "labels"))
    pictures = _pairs(images, labels)
    first = next((path for name in pictures.ids if (path := score_file(probs, name))), None)
    if first is None:
        raise InputError(f"probs={probs}: no scores of any picture in {images}, such as {pictures.ids[0]}.npz.")
    num_classes = len(read_scores(first, own["kind"]).values)
    return pictures, _rule({"class_names": range(num_classes), **(own["data"] or {})}, pictures)


def _pairs(images: Path, labels: Path) -> FilePictures:
    """The photos that have a mask; raises InputError if there is none."""
    found: dict[str, Path] = {}
    for path in sorted(images.rglob("*")):
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and path.is_file():
            found[path.relative_to(images).with_suffix("").as_posix()] = path
    paired = {name: path for name, path in found.items() if (labels / f"{name}.png").is_file()}
    if not paired:
        raise InputError(
            f"labels={labels}: no mask of any of the {len(found)} pictures in images={images}; the mask of a/b.jpg is "
            "a/b.png."
        )
    if len(paired) < len(found):
        log.info("%d of the %d pictures have masks in %s.", len(paired), len(found), labels)
    return FilePictures(list(paired), list(paired.values()), [labels / f"{name}.png" for name in paired])


def _rule(data: Plain, pictures: PictureSet) -> LabelRule:
    rule = LabelRule(len(data["class_names"]), data.get("label_map"), data.get("ignore_label", 255))
    rule.check_set(pictures)
    return rule


def _files_digest(files: Sequence[Path]) -> str:
    """A number that changes when a file does; a folder's own time changes with the files that it gains or loses."""
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()
