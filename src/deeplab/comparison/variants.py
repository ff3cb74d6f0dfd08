"""Runs grouped over seeds: a variant is every run whose configuration is the same but for the seed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from deeplab.comparison.configuration import ABSENT, PARTS, Flat, describe, differing, flatten, identity, part_of
from deeplab.comparison.run import Run, started

SPLIT = "split"
# These say what a variant was scored on and not what it is: they name it only beside another of the same name.
SCORED_ON = ("data.class_names", SPLIT)


@dataclass
class Variant:
    """Runs that differ in nothing but the seed; `differs` names the parts in which it differs from other variants."""

    name: str
    runs: list[Run]
    differs: dict[str, str] = field(default_factory=dict)
    repeated: list[Run] = field(default_factory=list)
    """Runs of a seed that a newer run has too: shown, not counted."""

    @property
    def scored(self) -> list[Run]:
        """The runs that have scores, one a seed."""
        return [run for run in self.runs if run.is_scored and run not in self.repeated]

    @property
    def seeds(self) -> list[int | None]:
        """The seeds of the scored runs."""
        return [run.seed for run in self.scored]


def group(runs: Sequence[Run]) -> list[Variant]:
    """Group runs into variants, in the order of their first runs, each with a name of its own.

    A run without a readable configuration is a variant by itself.
    """
    flats = [None if run.config is None else flatten(run.config) for run in runs]
    members: dict[Any, list[int]] = {}
    for index, flat in enumerate(flats):
        scored_on = (runs[index].class_names, runs[index].split) if runs[index].is_scored else None
        same = (None, index) if flat is None else (identity(flat), _rest(flats, runs, index, scored_on))
        members.setdefault(same, []).append(index)
    first = [indices[0] for indices in members.values()]
    known = [flat for flat in (flats[index] for index in first) if flat is not None]
    keys = differing(known)
    variants = []
    for indices in members.values():
        chosen = [runs[index] for index in indices]
        variant = Variant("", chosen, _differs(chosen[0], flats[indices[0]], keys))
        variant.repeated = _repeated([run for run in chosen if run.is_scored])
        variants.append(variant)
    _tell_splits(variants)
    _name(variants, keys)
    return variants


def _rest(flats: Sequence[Flat | None], runs: Sequence[Run], index: int, scored_on: Any) -> Any:
    """What tells runs of one configuration apart all the same: the split and classes that were scored.

    A run without scores joins the first that has some, for its configuration is all that is known of it.
    """
    if scored_on is not None:
        return scored_on
    own = flats[index]
    for flat, run in zip(flats, runs, strict=True):
        if flat is not None and own is not None and identity(flat) == identity(own) and run.is_scored:
            return (run.class_names, run.split)
    return None


def _differs(run: Run, flat: Flat | None, keys: Sequence[str]) -> dict[str, str]:
    if flat is None or run.config is None:
        return {}
    parts = sorted(dict.fromkeys(map(part_of, keys)), key=lambda part: PARTS.index(part) if part in PARTS else 99)
    return {
        part: describe(part, run.config, run.choices, flat, [key for key in keys if part_of(key) == part])
        for part in parts
    }


def _tell_splits(variants: Sequence[Variant]) -> None:
    """Where runs of one configuration were scored on several splits, that is what tells them apart."""
    splits = [variant.scored[0].split if variant.scored else None for variant in variants]
    if len({split for split in splits if split is not None}) > 1:
        for variant, split in zip(variants, splits, strict=True):
            if split is not None and variant.runs[0].config is not None:
                variant.differs[SPLIT] = f"split {split}"


def _repeated(runs: Sequence[Run]) -> list[Run]:
    """All but the newest run of each seed."""
    newest: dict[int | None, Run] = {}
    for run in runs:
        other = newest.get(run.seed)
        if run.seed is not None and (other is None or started(run) >= started(other)):
            newest[run.seed] = run
    return [run for run in runs if run.seed is not None and newest[run.seed] is not run]


def _name(variants: Sequence[Variant], keys: Sequence[str]) -> None:
    """Name variants by as few parts as tell them apart, the most telling first."""
    chosen: list[str] = []
    parts = list(dict.fromkeys(part for variant in variants for part in variant.differs))

    def distinct(names: Sequence[str]) -> int:
        return len({tuple(variant.differs.get(part, ABSENT) for part in names) for variant in variants})

    for part in parts:
        if part not in SCORED_ON and distinct([*chosen, part]) > distinct(chosen):
            chosen.append(part)
    taken: dict[str, Variant] = {}
    for variant in variants:
        name = ", ".join(variant.differs[part] for part in chosen if part in variant.differs) or _own_name(variant)
        other = taken.get(name, variant).differs
        apart = [each for part, each in variant.differs.items() if part in SCORED_ON and each != other.get(part)]
        longer = [name, *(f"{name}, {each}" for each in apart)]
        numbered = (f"{longer[-1]} ({number})" for number in range(2, len(variants) + 1))
        variant.name = next(each for each in (*longer, *numbered) if each not in taken)
        taken[variant.name] = variant


def _own_name(variant: Variant) -> str:
    """What a variant is called that differs from no other: by its head and experiment, or its folder."""
    run = variant.runs[0]
    if run.config is None:
        return run.name
    head = describe("model.head", run.config, run.choices, {}, []) or ""
    name = str(run.config.get("name") or run.name)
    return f"{name} ({head})" if head and len(variant.runs) else name
