"""Brute force: every pair of pixels; the yardstick for small pictures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deeplab.crf.kernels import Kernel, features
from deeplab.crf.problem import Problem, Refinement
from deeplab.crf.unary import unary_energy

MAX_PIXELS = 40_000  # the time grows with the square: about 10 s an iteration here
_PAIRS_AT_ONCE = 1 << 24

Array64 = npt.NDArray[np.float64]


class _Dense:
    """Applies one kernel: as a matrix if that is small, else in blocks of rows, so that memory stays bounded."""

    def __init__(self, kernel: Kernel, problem: Problem) -> None:
        self.features = features(kernel, problem.shape, problem.image).T.astype(np.float64)
        self.squares = (self.features**2).sum(axis=1)
        N = len(self.features)
        self.matrix = self._rows(slice(0, N)) if N * N <= _PAIRS_AT_ONCE else None
        ones = np.ones((self.features.shape[0], 1))
        sums = self._product(ones)[:, 0]
        symmetric = problem.params.normalization == "symmetric"
        self.after = 1 / np.sqrt(sums) if symmetric else 1 / sums
        self.before = self.after if symmetric else np.ones_like(sums)

    def _product(self, values: Array64) -> Array64:
        if self.matrix is not None:
            whole: Array64 = self.matrix @ values
            return whole
        N = len(self.features)
        out = np.empty_like(values)
        step = max(1, _PAIRS_AT_ONCE // N)
        for start in range(0, N, step):
            out[start : start + step] = self._rows(slice(start, start + step)) @ values
        return out

    def _rows(self, rows: slice) -> Array64:
        squares = self.squares[rows, None] + self.squares - 2 * self.features[rows] @ self.features.T
        kernel: Array64 = np.exp(-0.5 * np.maximum(squares, 0))
        return kernel

    def __call__(self, Q: Array64) -> Array64:
        return self._product(Q * self.before[:, None]) * self.after[:, None]


def refine(problem: Problem, trace: bool = False) -> Refinement:
    """Refine by the exact mean field, computed in float64.

    Raises:
        ValueError: for more than MAX_PIXELS pixels.
    """
    K, (H, W) = problem.num_classes, problem.shape
    if H * W > MAX_PIXELS:
        raise ValueError(
            f"a picture of {W} x {H} is too large for the exact backend (over {MAX_PIXELS} pixels): take another"
        )
    params = problem.params
    unary = unary_energy(problem.scores, params.unary).reshape(K, -1).T.astype(np.float64)
    Q = _softmax(-unary) if problem.initial is None else problem.initial.reshape(K, -1).T.astype(np.float64)
    kernels = [(kernel.weight, _Dense(kernel, problem)) for kernel in problem.kernels]
    penalties = None if params.compatibility is None else np.array(params.compatibility)

    def messages(Q: Array64) -> Array64:
        sent = sum((weight * dense(Q) for weight, dense in kernels), np.zeros_like(Q))
        return sent if penalties is None else -sent @ penalties

    energies, divergences, steps, converged = [], [], 0, False
    while (update := steps < params.iterations and not converged) or trace:
        received = messages(Q)
        if trace:
            energies.append(float((Q * (unary - 0.5 * received)).sum()))
            divergences.append(energies[-1] + float((Q * np.log(np.maximum(Q, 1e-20))).sum()))
        if not update:
            break
        new = _softmax(received - unary)
        converged = params.tolerance > 0 and float(np.abs(new - Q).max()) <= params.tolerance
        Q, steps = new, steps + 1
    marginals = np.ascontiguousarray(Q.T.reshape(K, H, W), dtype=np.float32)
    return Refinement(marginals, steps, tuple(energies), tuple(divergences))


def _softmax(scores: Array64) -> Array64:
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    normalised: Array64 = shifted / shifted.sum(axis=1, keepdims=True)
    return normalised
