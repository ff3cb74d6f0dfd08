"""The mean field of a batch of pictures on the device, their pixels one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deeplab.crf import cuda_kernels as kernels
from deeplab.crf.cuda_lattice import CudaLattice
from deeplab.crf.cuda_launch import launch_rows, row_length
from deeplab.crf.params import CRFParams
from deeplab.crf.problem import Refinement


@dataclass(frozen=True, eq=False)
class Planes:
    """A picture's scores (K, H, W), the marginals to start from or None, and the labels that take part."""

    scores: Tensor
    initial: Tensor | None
    labels: tuple[int, ...]


class CudaMeanField:
    """Refines pictures that have as many labels taking part each.

    terms: (weight, lattice) of each kernel, for all pictures together.
    """

    def __init__(
        self, pictures: Sequence[Planes], params: CRFParams, terms: Sequence[tuple[float, CudaLattice]]
    ) -> None:
        self.pictures = pictures
        self.params = params
        self.terms = terms
        self.K = len(pictures[0].labels)
        self.S = row_length(self.K)
        self.sizes = [picture.scores[0].numel() for picture in pictures]
        self.N = sum(self.sizes)
        scores = pictures[0].scores
        self.unary = scores.new_empty(self.N, self.S)
        self.Q = torch.empty_like(self.unary)
        self.labels = [torch.tensor(picture.labels, device=scores.device) for picture in pictures]
        self.penalties = self._penalties(scores)
        self._start()

    def run(self, trace: bool) -> Refinement:
        """Iterate; the marginals are those of all pictures together. Trace and tolerance take one picture at a time."""
        energies: list[float] = []
        divergences: list[float] = []
        steps, converged = 0, False
        while (update := steps < self.params.iterations and not converged) or trace:
            if trace:
                energy, entropy = self._energy()
                energies.append(energy)
                divergences.append(energy - entropy)
            if not update:
                break
            change = self._update()
            steps += 1
            converged = change is not None and float(change.amax()) <= self.params.tolerance
        return Refinement(self._planes(), steps, tuple(energies), tuple(divergences))

    def _start(self) -> None:
        first = 0
        for picture, size, labels in zip(self.pictures, self.sizes, self.labels, strict=True):
            tensors = (picture.scores, picture.scores if picture.initial is None else picture.initial)
            options = {"LOGITS": self.params.unary == "logits", "INITIAL": picture.initial is not None}
            into = (labels, self.unary, self.Q)
            launch_rows(kernels.start, size, self.S, *tensors, *into, size, self.K, first, **options)
            first += size

    def _planes(self) -> list[Tensor]:
        first, result = 0, []
        for picture, size, labels in zip(self.pictures, self.sizes, self.labels, strict=True):
            all_labels = len(picture.scores) == self.K
            planes = torch.empty_like(picture.scores) if all_labels else torch.zeros_like(picture.scores)
            launch_rows(kernels.write, size, self.S, self.Q, labels, planes, size, self.K, first)
            result.append(planes)
            first += size
        return result

    def _penalties(self, scores: Tensor) -> Tensor | None:
        matrix = self.params.compatibility
        if matrix is None:
            return None
        labels = self.pictures[0].labels
        penalties = scores.new_zeros(self.K, self.S)
        penalties[:, : self.K] = torch.tensor([[matrix[k][j] for j in labels] for k in labels], dtype=torch.float32)
        return penalties

    def _update(self) -> Tensor | None:
        """Do one iteration; with a tolerance return the largest changes of marginals, block by block."""
        if self.penalties is None and self.terms:
            *others, last, second = [*self.terms, None] if len(self.terms) % 2 else self.terms
            messages = self._sliced(others)
            return self._receive(last, second, messages, finish=True)
        return self._receive(None, None, self._messages(), finish=True)

    def _messages(self) -> Tensor:
        """All messages (N, S), penalties applied."""
        sent = self._sliced(self.terms)
        sent = torch.zeros_like(self.Q) if sent is None else sent
        if self.penalties is None:
            return sent
        mixed = torch.empty_like(sent)
        launch_rows(kernels.mix, self.N, self.S, sent, self.penalties, mixed, self.N, self.K)
        return mixed

    def _sliced(self, terms: Sequence[tuple[float, CudaLattice] | None]) -> Tensor | None:
        """The sum of these terms' messages (N, S), None for no terms."""
        messages: Tensor | None = None
        for i in range(0, len(terms), 2):
            first, second = terms[i], terms[i + 1] if i + 1 < len(terms) else None
            out = torch.zeros_like(self.Q) if messages is None else messages
            self._receive(first, second, out, finish=False)
            messages = out
        return messages

    def _receive(
        self,
        first: tuple[float, CudaLattice] | None,
        second: tuple[float, CudaLattice] | None,
        messages: Tensor | None,
        finish: bool,
    ) -> Tensor | None:
        arguments: list[Tensor | float] = []
        for term in (first, second):
            if term is None:
                arguments += [self.Q, self.Q, self.Q, 0.0]
            else:
                weight, lattice = term
                arguments += [lattice.rows(self.Q), lattice.slice_row, lattice.slice_weight, weight]
        watch = finish and self.params.tolerance > 0
        change = self.Q.new_zeros(self.N if watch else 1)  # a block writes one; there are no more of them than pixels
        options = {
            "TAPS_A": 0 if first is None else first[1].taps,
            "TAPS_B": 0 if second is None else second[1].taps,
            "PRIOR": messages is not None,
            "FINISH": finish,
            "CHANGE": watch,
        }
        rest = (self.Q if messages is None else messages, self.unary, self.Q, change, self.N, self.K)
        launch_rows(kernels.receive, self.N, self.S, *arguments, *rest, **options)
        return change if watch else None

    def _energy(self) -> tuple[float, float]:
        """The expected energy of equation 2 and the entropy of the present marginals, in nats."""
        Q = self.Q[:, : self.K]
        energy = (Q * (self.unary[:, : self.K] - 0.5 * self._messages()[:, : self.K])).sum(dtype=torch.float64)
        return float(energy), float(-torch.xlogy(Q, Q).sum(dtype=torch.float64))
