"""A matrix of counts kept as its cells."""

import pickle

import numpy as np

from deeplab.metrics.sparse_counts import SparseCounts


def test_the_matrix_comes_back() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 2**40, (171, 171)) * (rng.random((171, 171)) < 0.01)
    sparse = SparseCounts(matrix)
    np.testing.assert_array_equal(np.asarray(sparse), matrix)
    assert np.asarray(sparse).dtype == np.int64
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(sparse))), matrix)
    np.testing.assert_array_equal(np.asarray(SparseCounts(np.zeros((3, 3), np.int64))), np.zeros((3, 3)))


def test_it_takes_the_memory_of_its_cells() -> None:
    matrix = np.zeros((171, 171), np.int64)
    matrix[3, 5] = matrix[170, 170] = 7
    assert len(pickle.dumps(SparseCounts(matrix))) < 1000
