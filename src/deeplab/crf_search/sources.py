"""Where the search takes its pictures from: a network, or scores in files."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from deeplab.crf_search.prepared import write_prepared
from deeplab.data.labels import LabelRule
from deeplab.data.samples import PictureSet, Selection
from deeplab.errors import InputError
from deeplab.inference.network import SegmentationNetwork
from deeplab.inference.probabilities import Inference
from deeplab.inference.score_files import FORMS, Kind, ScoreMap, read_scores, score_file

log = logging.getLogger(__name__)


class Source(Protocol):
    """Pictures with labels and scores, made ready one by one."""

    @property
    def ids(self) -> Sequence[str]: ...

    def prepare(self, index: int, path: Path) -> None:
        """Write the picture's scores, pixels and labels."""


class NetworkScores:
    """The network's probabilities, by the same inference as every command, kept as logarithms in float16.

    Logarithms, since float16 probabilities near 1 are 5e-4 apart; their error is at most 5e-4 of the unary's energy.
    """

    def __init__(
        self, pictures: PictureSet, rule: LabelRule, network: SegmentationNetwork, inference: Inference
    ) -> None:
        self.ids = list(pictures.ids)
        self._pictures = pictures
        self._rule = rule
        self._network = network
        self._inference = inference

    def prepare(self, index: int, path: Path) -> None:
        """Raises InputError for a picture or mask that cannot be used."""
        sample = self._pictures[index]
        label = self._rule(sample["label"], self._pictures.label_source(index))
        probabilities = self._inference.probabilities(self._network, sample["image"])
        logarithms = probabilities.clamp_min_(float(np.finfo(np.float32).tiny)).log_().cpu().numpy()
        write_prepared(path, ScoreMap(logarithms, "logits"), sample["image"], label, align_corners=False)


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
