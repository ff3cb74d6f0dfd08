"""`data check`: read every file of some splits and say what is wrong with them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console

from deeplab.data.labels import VOID, LabelRule
from deeplab.data.samples import FileLayout, FilePictures
from deeplab.errors import InputError
from deeplab.inspection.published import PUBLISHED, Published
from deeplab.inspection.scan import Counts, Fault, Pair, Scanned, scan
from deeplab.reporting.parallel import work_through

# VOC outlines objects in void: nearly every mask has some, those of SBD have none.
_MOSTLY = 0.5


@dataclass
class SplitReport:
    """One split: `pixels` a label, void last; `with_void` masks that have any; sentences of what is wrong."""

    name: str
    num_pictures: int
    pixels: Counts
    masks_read: int = 0
    masks_with_label: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    faults: dict[Fault, list[str]] = field(default_factory=dict)
    digests: dict[bytes, str] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)

    @property
    def void_share(self) -> float:
        """Pixels that are void, as a fraction of 1; 0 where no mask was read."""
        total = int(self.pixels.sum())
        return int(self.pixels[-1]) / total if total else 0.0


@dataclass
class Report:
    """All splits; `problems` make the data unusable as it is, `warnings` make numbers differ from published ones."""

    splits: list[SplitReport]
    problems: list[str]
    warnings: list[str]

    @property
    def exit_code(self) -> int:
        """0 if nothing is wrong, else 1; warnings do not count."""
        return 1 if self.problems else 0


def inspect(
    layout: FileLayout,
    rule: LabelRule,
    splits: Sequence[str],
    name: str,
    *,
    train_split: str,
    workers: int | None = None,
    console: Console | None = None,
) -> Report:
    """Read all pictures and masks of the splits and compare them with each other and with what is published.

    Args:
        name: the data set's name in `conf/data`, by which published sizes are found.
        train_split: no other split may share a picture with it.

    Raises InputError for a split that cannot be listed.
    """
    reports = [_split(layout, rule, split, workers, console) for split in splits]
    published = PUBLISHED.get(name, Published())
    report = Report(reports, [], [])
    for each in reports:
        report.problems += [_sentence(each, fault) for fault in Fault if fault in each.faults]
        report.warnings += _against_published(each, published)
    report.problems += _overlaps(reports, train_split)
    return report


def _split(layout: FileLayout, rule: LabelRule, name: str, workers: int | None, console: Console | None) -> SplitReport:
    files = layout.files(name)
    pairs = [Pair(*each, rule) for each in zip(files.ids, files.images, files.masks, strict=True)]
    zeros = np.zeros(rule.num_classes + 1, dtype=np.int64)
    report = SplitReport(name, len(pairs), zeros.copy(), masks_with_label=zeros.copy(), ids=files.ids)
    for scanned in work_through(scan, pairs, f"read {name}", workers, console):
        _add(report, scanned)
    _check_values(report, rule, files)
    return report


def _check_values(report: SplitReport, rule: LabelRule, files: FilePictures) -> None:
    """What only all masks together show, and what training would refuse."""
    counted = np.append(np.arange(rule.num_classes), VOID)
    try:
        rule.check_values(set(counted[report.pixels > 0].tolist()), str(files.masks[0]))
    except InputError as error:
        report.faults.setdefault(Fault.LABEL, [str(error)] * report.masks_read)


def _add(report: SplitReport, scanned: Scanned) -> None:
    for fault, sentence in scanned.faults:
        report.faults.setdefault(fault, []).append(sentence)
    if scanned.pixels is not None:
        report.masks_read += 1
        report.pixels += scanned.pixels
        report.masks_with_label += scanned.pixels > 0
    if scanned.digest is not None:
        report.digests.setdefault(scanned.digest, scanned.id)


_WHAT = {
    Fault.MISSING: "missing files",
    Fault.UNREADABLE: "files that cannot be read",
    Fault.SIZE: "masks of another size than their pictures",
    Fault.LABEL: "masks with values that are no labels",
}


def _sentence(report: SplitReport, fault: Fault) -> str:
    sentences = report.faults[fault]
    return f"{report.name}: {_WHAT[fault]}: {len(sentences)}; the first: {sentences[0]}"


def _against_published(report: SplitReport, published: Published) -> list[str]:
    warnings = []
    expected = published.sizes.get(report.name)
    if expected is not None and expected != report.num_pictures:
        warnings.append(
            f"{report.name}: {report.num_pictures} pictures, published are {expected}; numbers on it are not "
            "comparable with those of others."
        )
    without = report.masks_read - int(report.masks_with_label[-1])
    if report.name in published.void and report.masks_read and without > _MOSTLY * report.masks_read:
        warnings.append(
            f"{report.name}: {without} of {report.masks_read} masks have no void, where the published truth has; for "
            "VOC that means masks of SegmentationClassAug, and scores against them are 5 to 6 points lower "
            "(kazuto1011/deeplab-pytorch, issue 72)."
        )
    return warnings


def _overlaps(reports: Sequence[SplitReport], train_split: str) -> list[str]:
    train = next((each for each in reports if each.name == train_split), None)
    problems = []
    for other in reports:
        if train is None or other is train:
            continue
        shared = sorted(set(train.ids) & set(other.ids))
        if shared:
            problems.append(f"{train.name} and {other.name} share {len(shared)} pictures, such as {shared[0]}.")
        same = [digest for digest in other.digests if digest in train.digests]
        twins = [(train.digests[each], other.digests[each]) for each in same]
        renamed = [pair for pair in twins if pair[0] != pair[1]]
        if renamed:
            problems.append(
                f"{train.name} and {other.name} have {len(renamed)} pictures of the same content under different "
                f"names, such as {renamed[0][0]} and {renamed[0][1]}."
            )
    return problems
