"""The mean field in plain torch: the fall-back without a compiler, and on any device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from deeplab.crf.kernels import features
from deeplab.crf.params import CRFParams
from deeplab.crf.problem import Problem, Refinement
from deeplab.crf.torch_lattice import TorchLattice, build_lattice
from deeplab.crf.unary import unary_energy


def refine(problem: Problem, num_threads: int | None, trace: bool = False) -> Refinement:
    """Refine on the device that the scores came from; num_threads (on the CPU) None leaves torch's own setting.

    Raises:
        ValueError: if the features span too many standard deviations.
    """
    full_precision = torch.autocast(torch.device(problem.device).type, enabled=False)  # a caller may have it on
    with torch.inference_mode(), full_precision, _threads(num_threads):
        symmetric = problem.params.normalization == "symmetric"
        terms = []
        for kernel in problem.kernels:
            of_pixels = torch.from_numpy(features(kernel, problem.shape, problem.image))
            terms.append((kernel.weight, build_lattice(of_pixels.to(problem.device), symmetric)))
        return _MeanField(problem, terms).run(trace)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _MeanField:
    def __init__(self, problem: Problem, terms: Sequence[tuple[float, TorchLattice]]) -> None:
        self.params: CRFParams = problem.params
        self.terms = terms
        self.planes = problem.scores.shape
        K, _, _ = self.planes
        energy = torch.from_numpy(unary_energy(problem.scores, self.params.unary)).to(problem.device)
        self.unary = energy.reshape(K, -1).T.contiguous()
        penalties = self.params.compatibility
        self.penalties = (
            None if penalties is None else torch.tensor(penalties, dtype=torch.float32, device=problem.device)
        )
        if problem.initial is None:
            self.Q = torch.softmax(-self.unary, dim=1)
        else:
            self.Q = torch.from_numpy(problem.initial).to(problem.device).reshape(K, -1).T.contiguous()

    def run(self, trace: bool) -> Refinement:
        energies: list[float] = []
        divergences: list[float] = []
        steps, converged = 0, False
        while (update := steps < self.params.iterations and not converged) or trace:
            messages = self._messages()
            if trace:
                energy = (self.Q * (self.unary - 0.5 * messages)).sum(dtype=torch.float64)
                entropy = -torch.xlogy(self.Q, self.Q).sum(dtype=torch.float64)
                energies.append(float(energy))
                divergences.append(float(energy - entropy))
            if not update:
                break
            new = torch.softmax(messages.sub_(self.unary), dim=1)
            converged = self.params.tolerance > 0 and float((new - self.Q).abs().max()) <= self.params.tolerance
            self.Q, steps = new, steps + 1
        marginals = self.Q.T.reshape(self.planes).contiguous()
        return Refinement(marginals.cpu().numpy(), steps, tuple(energies), tuple(divergences))

    def _messages(self) -> Tensor:
        sent = torch.zeros_like(self.Q)
        for weight, lattice in self.terms:
            sent.add_(lattice(self.Q), alpha=weight)
        return sent if self.penalties is None else -sent @ self.penalties
