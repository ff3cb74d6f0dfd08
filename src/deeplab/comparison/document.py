"""The comparison as one document of plain values, `report.json`, from which every view is made.

Scores are fractions of 1; null stands for what was not measured.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from deeplab.comparison.comparability import Group, groups
from deeplab.comparison.curves import CURVES, MOST_POINTS, read_curves
from deeplab.comparison.pairs import (
    FEWEST_CLASS_PICTURES,
    Difference,
    Pair,
    Scorer,
    all_pairs,
    common,
    comparable,
    has_crf,
    ranked,
)
from deeplab.comparison.run import Run
from deeplab.comparison.sentences import against_others, crf_verdict, number, verdict
from deeplab.comparison.variants import Variant, group
from deeplab.metrics.bootstrap import FEWEST_SEEDS
from deeplab.metrics.intervals import LEVEL, Interval
from deeplab.metrics.scores import class_iou
from deeplab.reporting.run_files import code_version

Plain = dict[str, Any]
FORMAT = 1
MOST_CURVE_POINTS = 60_000  # of all runs together


def compare(runs: Sequence[Run], repeats: int, seed: int) -> tuple[Plain, list[Group]]:
    """Compare runs; return the document and the groups of comparable variants behind it.

    repeats: resamples of the bootstrap; seed: of their drawing.
    """
    variants = group(runs)
    found, apart = groups(variants)
    sections = [_group_section(each, repeats, seed) for each in found]
    places = {id(variant): index for index, each in enumerate(found) for variant in each.variants}
    most = max(20, min(MOST_POINTS, MOST_CURVE_POINTS // (len(CURVES) * len(runs))))
    curves = [read_curves(run, most) for run in runs]
    document = {
        "format": FORMAT,
        "created": time.strftime("%Y-%m-%d %H:%M"),
        "version": code_version(),
        "bootstrap": {
            "resamples": repeats,
            "seed": seed,
            "level": LEVEL,
            "fewest_seeds": FEWEST_SEEDS,
            "fewest_class_pictures": FEWEST_CLASS_PICTURES,
        },
        "headline": _headline(sections, runs),
        "warnings": [*apart, *(each for section in sections for each in section.pop("warnings"))],
        "notes": [*_notes(variants), *(each for section in sections for each in section.pop("notes"))],
        "variants": [_variant(variant, runs, places.get(id(variant))) for variant in variants],
        "runs": [_run(run, variants) for run in runs],
        "groups": sections,
        "curve_names": {key: {"name": name, "percent": percent} for key, (name, percent) in CURVES.items()},
        "curves": curves,
    }
    return document, found


def _headline(sections: Sequence[Plain], runs: Sequence[Run]) -> list[str]:
    """The first verdict of each group, after the CRF where there is one, or why there is none."""
    lines: list[str] = []
    for section in sections:
        if section["pairs"]:
            first = section["pairs"][0]
            lines.append((first["after"] or first["before"])["sentence"])
        else:
            only = section["variants"][0]
            lines.append(f"{only} is the only variant on {section['title']}: there is nothing to compare it with.")
    if not lines:
        scored = sum(run.is_scored for run in runs)
        reason = "has" if len(runs) == 1 else "have"
        lines.append(
            f"No comparison: of {number(len(runs), 'run')} {scored} {reason} scores, and none has the matrices a "
            "picture (per_picture.npz) that intervals are made of."
        )
    return lines


def _notes(variants: Sequence[Variant]) -> list[str]:
    notes = []
    for variant in variants:
        if variant.repeated:
            names = ", ".join(run.name for run in variant.repeated)
            notes.append(
                f"{variant.name}: {names} {'has' if len(variant.repeated) == 1 else 'have'} the configuration and seed "
                "of a newer run; a repetition is not another seed, so only the newest counts."
            )
        # Unlike a repetition, a run without its configuration cannot be placed.
        notes += [
            f"{run.name}: its configuration is unknown, so it stands by itself."
            for run in variant.runs
            if run.config is None
        ]
        without = [run.name for run in variant.scored if run.pictures is None]
        if without:
            notes.append(f"{variant.name}: {', '.join(without)} cannot take part in comparisons; see the table.")
    return notes


def _variant(variant: Variant, runs: Sequence[Run], place: int | None) -> Plain:
    scored = variant.scored
    papers = [run.metrics["paper"] for run in scored if run.metrics and isinstance(run.metrics.get("paper"), dict)]
    return {
        "name": variant.name,
        "differs": variant.differs,
        "runs": [_index(runs, run) for run in variant.runs],
        "counted": [_index(runs, run) for run in scored],
        "seeds": variant.seeds,
        "group": place,
        "miou": _spread([run.metrics["miou"] for run in scored if run.metrics]),
        "miou_crf": _spread([run.metrics.get("miou_crf") for run in scored if run.metrics]),
        "boundary_miou": _spread([run.metrics.get("boundary_miou") for run in scored if run.metrics]),
        "boundary_miou_crf": _spread([run.metrics.get("boundary_miou_crf") for run in scored if run.metrics]),
        "paper": papers[0] if papers and all(each == papers[0] for each in papers) else None,
        "bands": _bands(scored),
    }


def _index(runs: Sequence[Run], run: Run) -> int:
    return next(index for index, each in enumerate(runs) if each is run)


def _spread(values: Sequence[float | None]) -> Plain | None:
    """Mean and spread over seeds; None unless every seed has a value."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    # The deviation of a sample: of two seeds or more.
    std = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return {"mean": float(np.mean(known)), "std": std, "min": min(known), "max": max(known), "count": len(known)}


def _bands(runs: Sequence[Run]) -> Plain | None:
    """The near-boundary curves, averaged over seeds, of `trimap` or `class_edges`, whichever all runs have."""
    for key in ("trimap", "class_edges"):
        bands = [(run.metrics or {}).get(key) for run in runs]
        known = [each for each in bands if isinstance(each, dict) and isinstance(each.get("width"), list)]
        if known and len(known) == len(bands) and all(each["width"] == known[0]["width"] for each in known):
            means = {name: _mean_list([each.get(name) for each in known]) for name in ("miou", "miou_crf")}
            return {"kind": key, "width": known[0]["width"], **means}
    return None


def _mean_list(lists: Sequence[Any]) -> list[float | None] | None:
    if not all(isinstance(each, list) and len(each) == len(lists[0]) for each in lists):
        return None
    columns = zip(*lists, strict=True)
    return [None if any(value is None for value in column) else float(np.mean(column)) for column in columns]


def _run(run: Run, variants: Sequence[Variant]) -> Plain:
    metrics, record = run.metrics or {}, run.record
    owner = next(index for index, variant in enumerate(variants) if any(each is run for each in variant.runs))
    keys = ("steps", "seconds", "images_per_second", "peak_memory", "device", "started", "commit")
    return {
        "name": run.name,
        "folder": str(run.folder),
        "state": run.state,
        "variant": owner,
        "counted": any(each is run for each in variants[owner].scored),
        "compared": any(each is run for each in comparable(variants[owner])),
        "seed": run.seed,
        "data": run.data.get("name"),
        "split": run.split if run.metrics else None,
        "num_images": metrics.get("num_images"),
        "miou": metrics.get("miou"),
        "miou_crf": metrics.get("miou_crf"),
        "pixel_accuracy": metrics.get("pixel_accuracy"),
        "pixel_accuracy_crf": metrics.get("pixel_accuracy_crf"),
        "boundary_miou": metrics.get("boundary_miou"),
        "boundary_miou_crf": metrics.get("boundary_miou_crf"),
        "evaluation_seconds": metrics.get("seconds"),
        **{key: record.get(key) for key in keys},
        "wandb": _wandb(run),
        "problems": run.problems,
    }


def _wandb(run: Run) -> Plain | None:
    """Where a run is in Weights & Biases, if it was logged there: by the newest of the folders that wandb left."""
    folders = sorted((run.folder / "wandb").glob("*run-*-*"), key=lambda path: path.name.rpartition("run-")[2])
    if not folders:
        return None
    logger = (run.config or {}).get("logger") or {}
    name = folders[-1].name.rpartition("-")[2].removesuffix(".wandb")
    return {"id": name, "project": logger.get("project") or "deeplab", "entity": logger.get("entity")}


def _group_section(one: Group, repeats: int, seed: int) -> Plain:
    """Everything about one group of comparable variants, measured on pictures that its runs have in common."""
    scorer = Scorer(one, repeats, seed)
    pairs, left_out = all_pairs(scorer)
    gains = [(variant, scorer.crf_gain(variant)) for variant in one.variants]
    order = ranked(scorer)
    return {
        "title": one.title,
        "class_names": list(one.class_names),
        "split": one.split,
        "data": one.data_names,
        "num_pictures": len(one.truth),
        "variants": [variant.name for variant in order],
        "classes": {variant.name: _classes(variant) for variant in one.variants},
        "crf_gains": [
            {"variant": variant.name, "sentence": crf_verdict(variant, gain), **_difference(gain)}
            for variant, gain in gains
            if gain is not None
        ],
        "pairs": [_pair(pair) for pair in pairs],
        "others": against_others(order[0], pairs),
        "warnings": _picture_warnings(scorer),
        "notes": [*one.cautions, *([left_out] if left_out else [])],
    }


def _picture_warnings(scorer: Scorer) -> list[str]:
    """Say where runs were scored on fewer pictures than others."""
    sizes = {
        variant.name: len(run.pictures.ids)
        for variant in scorer.group.variants
        for run in comparable(variant)
        if run.pictures is not None
    }
    shared = common([run for variant in scorer.group.variants for run in comparable(variant)])
    if len(set(sizes.values())) == 1 and len(shared) == next(iter(sizes.values())):
        return []
    return [
        f"Runs on {scorer.group.title} were scored on different pictures ("
        + ", ".join(f"{name}: {size}" for name, size in sizes.items())
        + "). Their mIoU in the table is each on its own pictures; differences are over the pictures that both sides "
        "have."
    ]


def _classes(variant: Variant) -> Plain:
    """IoU of each class, mean over seeds, and the confusion matrix summed over seeds, before and after the CRF."""
    runs = comparable(variant)
    ids = common(runs)
    result: Plain = {"num_pictures": len(ids)}
    for suffix, refined in (("", False), ("_crf", True)):
        if not ids or (refined and not has_crf(runs)):
            result |= {f"iou{suffix}": None, f"confusion{suffix}": None}
            continue
        matrices = [_total(run, refined, ids) for run in runs]
        iou = np.mean([class_iou(matrix) for matrix in matrices], axis=0)
        result[f"iou{suffix}"] = [None if np.isnan(value) else float(value) for value in iou]
        result[f"confusion{suffix}"] = np.sum(matrices, axis=0).tolist()
    return result


def _total(run: Run, refined: bool, ids: Sequence[str]) -> Any:
    assert run.pictures is not None
    matrices, chosen = run.matrices(refined), set(ids)
    assert matrices is not None
    return matrices[[each in chosen for each in run.pictures.ids]].sum(0, dtype=np.int64)


def _pair(pair: Pair) -> Plain:
    document: Plain = {"a": pair.a.name, "b": pair.b.name, "num_pictures": pair.num_pictures}
    document["seeds"] = list(pair.seeds)
    for key, refined in (("before", False), ("after", True)):
        difference = pair.after if refined else pair.before
        document[key] = difference and {"sentence": verdict(pair, refined), **_difference(difference)}
    return document


def _difference(one: Difference) -> Plain:
    return {
        "difference": one.difference,
        "over_pictures": _pairwise(one.over_pictures),
        "over_pictures_and_seeds": None if one.over_seeds is None else _pairwise(one.over_seeds),
        "decided": one.decided,
        "classes": one.classes,
        "class_intervals": None if one.class_intervals is None else [_pairwise(each) for each in one.class_intervals],
    }


def _pairwise(interval: Interval) -> list[float | None]:
    return [interval.low, interval.high]
