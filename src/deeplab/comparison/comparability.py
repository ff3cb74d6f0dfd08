"""Which variants may be compared: those scored on the same pictures of the same truth, with the same classes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from deeplab.comparison.run import Run
from deeplab.comparison.variants import Variant

Truth = dict[str, npt.NDArray[np.int64]]


@dataclass
class Group:
    """Variants that were scored on the same data; `cautions` are sentences about what differs all the same."""

    class_names: tuple[str, ...]
    split: str
    data_names: list[str]
    variants: list[Variant]
    truth: Truth
    cautions: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Data and split."""
        return f"{' and '.join(self.data_names)}, split {self.split}, {len(self.class_names)} classes"


def groups(variants: Sequence[Variant]) -> tuple[list[Group], list[str]]:
    """Group the variants that can be compared; and say in sentences why those of different groups cannot.

    Two variants fit if class list and split are the same and every picture that both have has the same pixels of each
    class in its truth; data sets of different names must also have all pictures in common.
    """
    found: list[Group] = []
    for variant in variants:
        comparable = [run for run in variant.scored if run.pictures is not None]
        if not comparable:
            continue
        truth = _truth(comparable[0])
        for run in comparable[1:]:
            truth |= _truth(run)
        place = next((group for group in found if _misfit(group, comparable[0], truth) is None), None)
        name = str(comparable[0].data.get("name", "unknown data"))
        if place is None:
            found.append(Group(comparable[0].class_names, comparable[0].split, [name], [variant], truth))
            continue
        if name not in place.data_names:
            place.data_names.append(name)
            place.cautions.append(
                f"{variant.name} is configured with data={name}, others with data={place.data_names[0]}; their "
                f"{len(truth)} pictures and the truth in them are the same, so they are compared."
            )
        place.variants.append(variant)
        place.truth |= truth
    return found, [_apart(found[0], other) for other in found[1:]]


def _truth(run: Run) -> Truth:
    """The pixels of each class in the truth, by picture."""
    assert run.pictures is not None
    return dict(zip(run.pictures.ids, run.pictures.confusion.sum(-1, dtype=np.int64), strict=True))


def _misfit(group: Group, run: Run, truth: Truth) -> str | None:
    """Why a run's numbers are not those of the group's data; None if they are."""
    if run.class_names != group.class_names:
        return "their class lists differ"
    if run.split != group.split:
        return f"they are scored on different splits ({group.split} and {run.split})"
    return _misfit_truth(group, str(run.data.get("name", "unknown data")), truth)


def _misfit_truth(group: Group, name: str, truth: Truth) -> str | None:
    common = truth.keys() & group.truth.keys()
    if not common:
        return "they have no picture in common"
    if any(not np.array_equal(truth[each], group.truth[each]) for each in common):
        return "pictures of the same name have another truth"
    if name not in group.data_names and truth.keys() != group.truth.keys():
        return f"they are of different data sets ({group.data_names[0]} and {name}) with different pictures"
    return None


def _apart(first: Group, other: Group) -> str:
    names = [", ".join(variant.name for variant in group.variants) for group in (first, other)]
    run = next(run for run in other.variants[0].scored if run.pictures is not None)
    reason = _misfit(first, run, other.truth) or "their pictures differ"
    return f"Not comparable: {names[0]} ({first.title}) and {names[1]} ({other.title}): {reason}."
