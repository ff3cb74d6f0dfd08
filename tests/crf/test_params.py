from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from deeplab.crf import CRFParams
from deeplab.crf.kernels import BilateralKernel, SpatialKernel


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"bilateral_xy_std": 0.0}, "bilateral_xy_std = 0"),
        ({"bilateral_rgb_std": -3.0}, "bilateral_rgb_std = -3"),
        ({"gaussian_xy_std": float("nan")}, "gaussian_xy_std = nan"),
        ({"gaussian_xy_std": float("inf")}, "gaussian_xy_std = inf"),
        ({"iterations": -1}, "iterations = -1"),
        ({"iterations": 2.5}, "iterations = 2.5"),
        ({"iterations": True}, "iterations = True"),
        ({"bilateral_weight": -1.0}, "bilateral_weight = -1"),
        ({"normalization": "before"}, "normalization = 'before'"),
        ({"unary": "energy"}, "unary = 'energy'"),
        ({"tolerance": -0.1}, "tolerance = -0.1"),
        ({"prune_below": 1.5}, "prune_below = 1.5"),
        ({"bilateral_weight": 1e300}, "bilateral_weight = 1e"),  # would be infinite as a float32
        ({"bilateral_weight": "4"}, "bilateral_weight = '4'"),
        ({"gaussian_xy_std": 1e-46}, "gaussian_xy_std = 1e-46"),
        ({"gaussian_xy_std": None}, "gaussian_xy_std = None"),
        ({"compatibility": ((0.0, 1.0),)}, "square"),
        ({"compatibility": ()}, "square"),
        ({"compatibility": 5}, "compatibility = 5"),
        ({"compatibility": ((None,),)}, r"compatibility = \(\(None"),
        ({"compatibility": (("x",),)}, r"compatibility = \(\('x'"),
        ({"compatibility": ((-1e38,),)}, r"compatibility\[0\]\[0\] = -1e\+38"),
        ({"tolerance": "a"}, "tolerance = 'a'"),
        ({"half_resolution": "no"}, "half_resolution = 'no'"),
        ({"compatibility": ((0.0, 1.0), (2.0, 0.0))}, r"compatibility\[0\]\[1\]"),
    ],
)
def test_bad_value_is_named(values: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        CRFParams(**values)  # type: ignore[arg-type]


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    three: Any = np.int64(3)
    assert CRFParams(iterations=three) == CRFParams(iterations=3)


def test_frozen_hashable_and_portable() -> None:
    params = CRFParams(compatibility=[[0, 1], [1, 0]])  # type: ignore[arg-type]
    assert hash(params) == hash(pickle.loads(pickle.dumps(params)))
    with pytest.raises(AttributeError):
        params.iterations = 3  # type: ignore[misc]


def test_weight_0_removes_the_kernel() -> None:
    assert CRFParams().kernels() == (SpatialKernel(3.0, 1.0), BilateralKernel(4.0, 67.0, 3.0))
    assert CRFParams(gaussian_weight=0).kernels() == (BilateralKernel(4.0, 67.0, 3.0),)
    assert CRFParams(gaussian_weight=0, bilateral_weight=0).kernels() == ()
