"""Where the search takes its pictures from: here scores in files; a network is in network_scores.py."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from deeplab.crf_search.prepared import write_prepared
from deeplab.data.labels import LabelRule
from deeplab.data.samples import PictureSet, Selection
from deeplab.errors import InputError
from deeplab.inference.score_files import FORMS, Kind, read_scores, score_file

log = logging.getLogger(__name__)


class Source(Protocol):
    """Pictures with labels and scores, made ready one by one."""

    @property
    def ids(self) -> Sequence[str]: ...

    def prepare(self, index: int, path: Path) -> None:
        """Write the picture's scores, pixels and labels."""


class SavedScores:
    """Scores that any network left in `folder`, for those pictures of a set that have some.

    Raises InputError for a folder without scores of any picture of the set.
    """

    def __init__(
        self,
        pictures: PictureSet,
        rule: LabelRule,
        folder: Path,
        align_corners: bool = False,
        kind: Kind | None = None,
    ) -> None:
        found = {index: path for index, name in enumerate(pictures.ids) if (path := score_file(folder, name))}
        if not found:
            raise InputError(f"probs={folder}: no scores of any picture, such as {pictures.ids[0]} ({FORMS}).")
        if len(found) < len(pictures):
            log.info("%d of the %d pictures have scores in %s.", len(found), len(pictures), folder)
        self.ids = [pictures.ids[index] for index in found]
        self.files = list(found.values())
        self._pictures = Selection(pictures, list(found))
        self._rule = rule
        self._align_corners = align_corners
        self._kind = kind

    def prepare(self, index: int, path: Path) -> None:
        """Raises InputError for scores, a picture or a mask that cannot be used."""
        sample = self._pictures[index]
        scores = read_scores(self.files[index], self._kind)
        if len(scores.values) != self._rule.num_classes:
            raise InputError(
                f"{self.files[index]}: scores of {len(scores.values)} classes, but the data have "
                f"{self._rule.num_classes}; name other data or other scores."
            )
        label = self._rule(sample["label"], self._pictures.label_source(index))
        write_prepared(path, scores, sample["image"], label, self._align_corners)
