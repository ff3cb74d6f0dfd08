"""CRF refinement on the GPU in batches, as pictures come from the network; the counterpart of workers.py."""

from __future__ import annotations

from concurrent.futures import Future

import torch
from torch import Tensor

from deeplab.crf.dense_crf import DenseCRF


class CRFBatches:
    """Turns (probabilities, image) on a device into refined label maps there, several pictures at a time.

    A batch is refined when it holds `max_pictures` pictures or `max_elements` probabilities, and at `flush`.
    """

    def __init__(self, crf: DenseCRF, max_pictures: int = 16, max_elements: int = 64_000_000) -> None:
        self.crf = crf
        self.max_pictures = max_pictures
        self.max_elements = max_elements
        self._waiting: list[tuple[Tensor, Tensor, Future[Tensor]]] = []

    def submit(self, probs: Tensor, image: Tensor) -> Future[Tensor]:
        """Hand over scores (K, H, W) and the picture (H, W, 3) uint8; the future gives the label map (H, W).

        uint8, or int16 for more than 256 labels, on the scores' device. The tensors must not change before the future
        is done.

        Raises:
            ValueError: for a picture of this batch that `DenseCRF` refuses.
        """
        future: Future[Tensor] = Future()
        self._waiting.append((probs, image, future))
        if len(self._waiting) >= self.max_pictures or sum(p.numel() for p, _, _ in self._waiting) >= self.max_elements:
            self.flush()
        return future

    def flush(self) -> None:
        """Refine what waits."""
        batch, self._waiting = self._waiting, []
        refined = self.crf.batch([probs for probs, _, _ in batch], [image for _, image, _ in batch])
        for marginals, (_, _, future) in zip(refined, batch, strict=True):
            dtype = torch.uint8 if len(marginals) <= 256 else torch.int16
            future.set_result(marginals.max(dim=0).indices.to(dtype))

    def close(self, cancel: bool = False) -> None:
        """Refine what waits, or forget it."""
        if cancel:
            self._waiting.clear()
        self.flush()
