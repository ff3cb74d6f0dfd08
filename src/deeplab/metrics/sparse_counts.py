"""A picture's confusion matrix in the memory that a picture needs: few of the pairs of classes occur in one."""

from typing import Any

import numpy as np
import numpy.typing as npt


class SparseCounts:
    """The cells of a (K, K) matrix of counts that are not 0; `np.asarray` gives the matrix, int64."""

    def __init__(self, matrix: npt.NDArray[np.integer[Any]]) -> None:
        self.shape = matrix.shape
        self._cells = np.flatnonzero(matrix).astype(np.int32)
        self._counts = matrix.ravel()[self._cells].copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        matrix = np.zeros(self.shape, dtype or np.int64)
        matrix.ravel()[self._cells] = self._counts
        return matrix
