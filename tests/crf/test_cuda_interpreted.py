"""The cuda backend's kernels by Triton's interpreter, which runs them on the CPU, in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeplab.crf import CRFParams
from deeplab.crf.kernels import FeatureKernel

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed"),
]

Make = Callable[..., Any]
SHORT = CRFParams(iterations=2)
FEATURES = np.random.default_rng(6).normal(0, 2, (3, 9, 14)).astype(np.float32)
MATRIX = ((-1.0, 0.5, 0.2, 0.0), (0.5, -1.0, 0.3, 0.1), (0.2, 0.3, -0.5, 0.4), (0.0, 0.1, 0.4, -1.0))


def noise(K: int, H: int, W: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(3)
    probs = rng.dirichlet(np.ones(K), (H, W)).transpose(2, 0, 1).astype(np.float32)
    return probs, rng.integers(0, 256, (H, W, 3), dtype=np.uint8)


# (parameters, kernels, how to make the pictures)
CASES: dict[str, tuple[CRFParams, list[FeatureKernel], Make]] = {
    "odd size": (CRFParams(iterations=4), [], lambda p: [p(5, 23, 31)]),
    "mixed sizes": (SHORT, [], lambda p: [p(3, 9, 14), p(3, 1, 1), p(3, 12, 7, seed=1)]),
    "first of these": (SHORT, [], lambda p: [p(3, 9, 14)]),
    "last of these": (SHORT, [], lambda p: [p(3, 12, 7, seed=1)]),
    "one column": (SHORT, [], lambda p: [p(5, 33, 1)]),
    "constant": (SHORT, [], lambda p: [(p(4, 16, 21)[0], np.full((16, 21, 3), 128, np.uint8))]),
    "noise": (SHORT, [], lambda p: [noise(6, 11, 13)]),
    "many labels": (SHORT, [], lambda p: [p(40, 6, 7)]),
    "no iterations": (CRFParams(iterations=0), [], lambda p: [p(2, 6, 7)]),
    "no kernels": (replace(SHORT, bilateral_weight=0, gaussian_weight=0), [], lambda p: [p(2, 6, 7)]),
    "after": (replace(SHORT, normalization="after"), [], lambda p: [p(2, 8, 9)]),
    "logits": (replace(SHORT, unary="logits"), [], lambda p: [(np.log(p(3, 8, 9)[0]), p(3, 8, 9)[1])]),
    "matrix": (replace(SHORT, compatibility=MATRIX), [], lambda p: [p(4, 8, 9)]),
    "three kernels": (SHORT, [FeatureKernel(2.0, FEATURES)], lambda p: [p(3, 9, 14)]),
    "tolerance": (CRFParams(iterations=4, tolerance=0.5), [], lambda p: [p(3, 8, 9), p(3, 8, 9, seed=1)]),
    "fine colours": (replace(SHORT, bilateral_rgb_std=2, bilateral_xy_std=0.5), [], lambda p: [p(3, 8, 9)]),
    "half size": (replace(SHORT, half_resolution=True), [], lambda p: [p(3, 8, 9)]),
    "pruned": (replace(SHORT, prune_below=0.6), [], lambda p: [p(7, 9, 14), p(7, 3, 4)]),
    "pruned matrix": (replace(SHORT, prune_below=0.9, compatibility=MATRIX), [], lambda p: [p(4, 6, 5)]),
}
SETTINGS = [
    SHORT,
    replace(SHORT, bilateral_weight=7, gaussian_weight=1),
    replace(SHORT, bilateral_rgb_std=9),
    replace(SHORT, bilateral_rgb_std=9, normalization="after"),
    replace(SHORT, bilateral_rgb_std=9, half_resolution=True),
]
REFUSED: dict[str, tuple[list[FeatureKernel], Make, str]] = {
    "NaN": ([], lambda p: [(np.where(np.arange(9) == 3, np.nan, p(3, 8, 9)[0]), p(3, 8, 9)[1])], "scores hold nan at"),
    "scores": ([], lambda p: [(np.full((3, 8, 9), 7.0), p(3, 8, 9)[1])], "unary='logits'"),
    "whole numbers": ([], lambda p: [(np.zeros((3, 8, 9), np.int64), p(3, 8, 9)[1])], "scores of type int64"),
    "size": ([], lambda p: [(p(3, 8, 9)[0], p(3, 9, 8)[1])], "image of shape (9, 8, 3)"),
    "no image": ([], lambda p: [(p(3, 8, 9)[0], None)], "needs the image"),
    "far": ([FeatureKernel(1.0, FEATURES[:1] * 1e9)], lambda p: [p(3, 9, 14)], "raise the standard deviations"),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, picture: Make) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("interpreted")
    cases = {name: (params, kernels, make(picture)) for name, (params, kernels, make) in CASES.items()}
    cases |= {name: (SHORT, kernels, make(picture)) for name, (kernels, make, _) in REFUSED.items()}
    cases["settings"] = (SETTINGS, [], [picture(4, 9, 14)])
    (folder / "cases").write_bytes(pickle.dumps(cases))
    script = str(Path(__file__).with_name("interpret_cuda.py"))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, script, folder / "cases", folder / "answers"], check=True, env=environment)
    result: dict[str, Any] = pickle.loads((folder / "answers").read_bytes())
    return result


@pytest.mark.parametrize("name", CASES)
def test_same_answer(name: str, answers: dict[str, Any], picture: Make, assert_same: Make) -> None:
    params, kernels, make = CASES[name]
    for got, (probs, image) in zip(answers[name], make(picture), strict=True):
        assert_same(got, params, probs, image, kernels=kernels)


def test_batch_is_one_by_one_bit_for_bit(answers: dict[str, Any]) -> None:
    first, _, last = answers["mixed sizes"]
    np.testing.assert_array_equal(first, answers["first of these"][0])
    np.testing.assert_array_equal(last, answers["last of these"][0])


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, answers: dict[str, Any]) -> None:
    assert REFUSED[name][2] in answers[name]


def test_settings_that_differ_in_weights_share_lattices(
    answers: dict[str, Any], picture: Make, assert_same: Make
) -> None:
    answer = answers["settings"]
    for params, marginals in zip(SETTINGS, answer["marginals"], strict=True):
        assert_same(marginals, params, *picture(4, 9, 14))
    np.testing.assert_array_equal(answer["labels"][0], answer["marginals"][-1].argmax(axis=0))
    assert sorted(answer["built"]) == ["BilateralKernel"] * 4 + ["SpatialKernel"] * 3
