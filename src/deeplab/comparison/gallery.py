"""The pictures of a comparison: which are shown, what each variant scores on them, and their files, small enough."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from deeplab.comparison.comparability import Group
from deeplab.comparison.pairs import comparable
from deeplab.comparison.run import Run
from deeplab.comparison.variants import Variant
from deeplab.data.palette import class_palette, voc_palette
from deeplab.data.picture_size import check_size
from deeplab.errors import InputError
from deeplab.metrics.scores import mean_iou

Plain = dict[str, Any]
Labels = npt.NDArray[np.uint8]
# Gives a run's pictures: id -> image uint8 (H, W, 3) and truth uint8 (H, W).
Samples = Callable[[str], tuple[npt.NDArray[np.uint8], Labels]]
OpenSamples = Callable[[Run], Samples]

MOST_PICTURES = 40
LONGEST_SIDE = 500  # pixels; VOC's own
QUALITY = 80
FOLDERS = {False: "predictions", True: "predictions_crf"}
# How pictures are ranked; each takes scores (pictures, variants) before and after the CRF.
ORDERS = ("differ", "worst", "helped", "hurt")


@dataclass
class Gallery:
    """Pictures with the layers of one run a variant; `problems` says what could not be shown.

    `layers` names what every picture has: the picture, the truth, and each variant before and after the CRF.
    """

    layers: list[Plain] = field(default_factory=list)
    pictures: list[Plain] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    chosen_by: str = ""
    class_names: list[str] = field(default_factory=list)
    variants: list[str] = field(default_factory=list)
    palette: Any = "voc"
    """As the configuration of the runs shown has it."""

    @property
    def colours(self) -> list[list[int]]:
        """The colour of each class; VOC's where the configuration's palette does not fit."""
        try:
            colours = class_palette(self.palette, len(self.class_names))
        except InputError:
            colours = voc_palette()
        return [[int(value) for value in colour] for colour in colours[: len(self.class_names)]]

    def summary(self) -> Plain:
        """What the document keeps of it: which pictures, their scores, what is missing; not the pictures."""
        kept = ("id", "before", "after", "missing")
        return {
            "variants": self.variants,
            "pictures": [{key: picture[key] for key in kept} for picture in self.pictures],
            "problems": self.problems,
        }


def build_gallery(groups: Sequence[Group], most: int, seed: int | None, open_samples: OpenSamples) -> Gallery:
    """Choose at most `most` pictures of the largest group and read their layers.

    seed: whose runs are shown; None for the lowest that all variants have, else the lowest of each.
    """
    gallery = Gallery()
    if not groups or most == 0:
        gallery.problems.append(
            "The gallery was left out (pictures=0)." if groups else "There are no pictures to show."
        )
        return gallery
    group = max(groups, key=lambda each: sum(len(comparable(variant)) for variant in each.variants))
    if len(groups) > 1:
        gallery.problems.append(f"Only pictures of {group.title} are shown, where most runs are.")
    shown = {variant.name: _run_of(variant, _seed(group, seed), gallery) for variant in group.variants}
    gallery.class_names, gallery.variants = list(group.class_names), list(shown)
    gallery.palette = next(iter(shown.values())).data.get("palette", "voc")
    ids = _common(list(shown.values()))
    if not ids:
        gallery.problems.append("The variants have no picture in common, so none can be shown side by side.")
        return gallery
    before, after = (_scores(list(shown.values()), ids, refined) for refined in (False, True))
    ranks = rankings(before, after)
    chosen = choose(ranks, len(ids), most)
    if len(chosen) < len(ids):
        gallery.chosen_by = (
            f"{len(chosen)} of {len(ids)} pictures: a fifth evenly spread over the split, the rest where variants "
            "differ most, are worst, or are helped or hurt most by the CRF. They are no fair sample."
        )
    _add_layers(gallery, shown)
    samples = _samples(gallery, list(shown.values()), open_samples)
    for place in chosen:
        picture = _picture(gallery, ids[place], shown, samples)
        picture["before"] = [round(float(value), 4) for value in before[place]]
        picture["after"] = [None if np.isnan(value) else round(float(value), 4) for value in after[place]]
        picture["classes"] = np.flatnonzero(group.truth[ids[place]]).tolist()
        gallery.pictures.append(picture)
    _sum_up_missing(gallery)
    return gallery


def rankings(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
    """Return for each order a value a picture, large for what comes first; scores are (pictures, variants).

    Where no CRF ran, `after` is NaN and the scores before it decide.
    """
    final = np.where(np.isnan(after), before, after)
    gain = np.where(np.isnan(after), 0.0, after - before)
    return {
        "differ": final.max(axis=1) - final.min(axis=1),
        "worst": -final.mean(axis=1),
        "helped": gain.mean(axis=1),
        "hurt": -gain.mean(axis=1),
    }


def choose(ranks: dict[str, npt.NDArray[np.float64]], count: int, most: int) -> list[int]:
    """Choose pictures: a fifth evenly spread, then in turn the next of each order; in the split's order."""
    if count <= most:
        return list(range(count))
    chosen = dict.fromkeys(round(index * (count - 1) / max(1, most // 5 - 1)) for index in range(most // 5))
    orders = [list(np.argsort(-ranks[name], kind="stable")) for name in ORDERS]
    for turn in range(count):
        for order in orders:
            if len(chosen) < most:
                chosen.setdefault(int(order[turn]))
    return sorted(chosen)


def _seed(group: Group, wanted: int | None) -> int | None:
    if wanted is not None:
        return wanted
    shared = set.intersection(*({run.seed for run in comparable(variant)} for variant in group.variants))
    return min((seed for seed in shared if seed is not None), default=None)


def _run_of(variant: Variant, seed: int | None, gallery: Gallery) -> Run:
    runs = comparable(variant)
    chosen = next((run for run in runs if run.seed == seed), None)
    if chosen is not None:
        return chosen
    run = min(runs, key=lambda each: (each.seed is None, each.seed or 0))
    if seed is not None:
        gallery.problems.append(f"{variant.name} has no run of seed {seed}: that of seed {run.seed} is shown.")
    return run


def _common(runs: Sequence[Run]) -> list[str]:
    sets = [set(run.pictures.ids) for run in runs if run.pictures is not None]
    first = runs[0].pictures
    assert first is not None
    return [each for each in first.ids if all(each in ids for ids in sets)]


def _scores(runs: Sequence[Run], ids: Sequence[str], refined: bool) -> npt.NDArray[np.float64]:
    """mIoU within each picture, (pictures, runs): for sorting, not the data set's mIoU; NaN without a CRF."""
    columns = []
    for run in runs:
        matrices = run.matrices(refined)
        assert run.pictures is not None
        if matrices is None:
            columns.append(np.full(len(ids), np.nan))
            continue
        place = {name: index for index, name in enumerate(run.pictures.ids)}
        columns.append(np.nan_to_num(mean_iou(matrices[[place[each] for each in ids]])))
    return np.stack(columns, axis=1)


def _add_layers(gallery: Gallery, shown: dict[str, Run]) -> None:
    gallery.layers += [{"key": "truth", "name": "truth", "variant": None}]
    lacking: dict[str, list[str]] = {}
    for index, (name, run) in enumerate(shown.items()):
        for refined, folder in FOLDERS.items():
            if not (run.folder / folder).is_dir():
                if run.matrices(refined) is not None:
                    lacking.setdefault(folder, []).append(run.name)
                continue
            title = f"{name} after the CRF" if refined else name
            gallery.layers.append({"key": f"{index}{'c' if refined else ''}", "name": title, "variant": name})
    if lacking:
        names = ", ".join(dict.fromkeys(name for each in lacking.values() for name in each))
        gallery.problems.append(
            f"What these runs predicted is not all shown, for no {'/ or '.join(lacking)}/ lies in {names}."
        )


def _samples(gallery: Gallery, runs: Sequence[Run], open_samples: OpenSamples) -> Samples | None:
    """The first run's pictures that open; they are the same for all runs."""
    reasons = []
    for run in runs:
        try:
            return open_samples(run)
        except InputError as error:
            reasons.append(str(error))
    gallery.problems.append(
        f"Pictures and truth are not shown, for the data set cannot be opened: {reasons[0]} "
        "data.root=FOLDER says where it lies on this machine."
    )
    return None


def _picture(gallery: Gallery, identifier: str, shown: dict[str, Run], samples: Samples | None) -> Plain:
    picture: Plain = {"id": identifier, "image": None, "layers": {}, "missing": []}
    size, whose = None, "its picture"
    if samples is not None:
        try:
            image, truth = samples(identifier)
            size = truth.shape
            picture["image"] = encode_photo(image)
            picture["layers"]["truth"] = encode_labels(truth)
        except InputError as error:
            picture["missing"].append(str(error))
    for layer in gallery.layers[1:]:
        run, refined = shown[layer["variant"]], layer["key"].endswith("c")
        try:
            path = prediction_file(run.folder, FOLDERS[refined], identifier)
            labels = read_labels(path)
            if size is None:  # without the picture the layers must at least fit each other
                size, whose = labels.shape, "another layer"
            if labels.shape != size:
                raise InputError(f"{path}: it is {labels.shape[1]}x{labels.shape[0]}, {whose} {size[1]}x{size[0]}")
            picture["layers"][layer["key"]] = encode_labels(labels)
        except InputError as error:
            picture["missing"].append(str(error))
    return picture


def _sum_up_missing(gallery: Gallery) -> None:
    missing = [each for picture in gallery.pictures for each in picture["missing"]]
    if missing:
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        gallery.problems.append(f"A layer is missing: {missing[0].rstrip('.')}{others}.")


def prediction_file(folder: Path, kind: str, identifier: str) -> Path:
    """Return where a run keeps its labels of a picture; `kind` is one of FOLDERS.

    Raises InputError for an id or a link that leads out of the run's folder, which may come from anywhere.
    """
    path = folder / kind / f"{identifier}.png"
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError) as error:  # a link to itself, or a name that no file can have
        raise InputError(f"{kind}/{identifier!r}: no file can be called that ({error})") from error
    if not inside:
        raise InputError(f"{kind}/{identifier}.png leads out of the run's folder {folder}, so it is not read")
    return path


def read_labels(path: Path) -> Labels:
    """Read a label map, uint8 (H, W), as `write_labels` left it.

    Raises InputError for a file that is missing or no such map.
    """
    try:
        data = path.read_bytes()
        check_size(data, path)
        with Image.open(io.BytesIO(data)) as image:
            if image.mode not in ("P", "L", "1"):
                raise InputError(f"{path}: it holds colours, not labels")
            return np.array(image, dtype=np.uint8)
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: it cannot be read ({error})") from error


def encode_photo(image: npt.NDArray[np.uint8]) -> str:
    """Return a photo uint8 (H, W, 3) as a data URL, its longer side at most 500 pixels."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return _data_url(picture, "WEBP", quality=QUALITY, method=2)


def encode_labels(labels: Labels) -> str:
    """Return a label map uint8 (H, W) as the data URL of a PNG whose greys are labels, 500 pixels at most."""
    picture = Image.fromarray(np.ascontiguousarray(labels))
    picture.putpalette(bytes(np.repeat(np.arange(256, dtype=np.uint8), 3)))  # rows of a palette are stored unfiltered
    # Nearest, for a label between two others would be a third.
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.NEAREST, reducing_gap=None)
    return _data_url(picture, "PNG", compress_level=6)


def decode(url: str) -> Image.Image:
    """Return the picture of a data URL that this module made."""
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def _data_url(picture: Image.Image, kind: str, **options: Any) -> str:
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
