"""A network as a source of scores; apart from the scores in files, which need no torch."""

from pathlib import Path

import numpy as np

from deeplab.crf_search.prepared import write_prepared
from deeplab.data.labels import LabelRule
from deeplab.data.samples import PictureSet
from deeplab.inference.network import SegmentationNetwork
from deeplab.inference.probabilities import Inference
from deeplab.inference.score_files import ScoreMap


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
