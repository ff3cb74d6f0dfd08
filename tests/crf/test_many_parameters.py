from dataclasses import replace

import numpy as np
import pytest

from deeplab.crf import CRFParams, DenseCRF, backends
from deeplab.crf.many_parameters import ManyParameters

SETTINGS = [
    CRFParams(iterations=3, bilateral_xy_std=20, bilateral_rgb_std=8, gaussian_xy_std=3),
    CRFParams(iterations=3, bilateral_xy_std=20, bilateral_rgb_std=8, gaussian_xy_std=3, bilateral_weight=6),
    CRFParams(iterations=5, bilateral_xy_std=20, bilateral_rgb_std=9, gaussian_xy_std=3, gaussian_weight=1),
    CRFParams(iterations=3, bilateral_xy_std=20, bilateral_rgb_std=9, gaussian_xy_std=3, normalization="after"),
    CRFParams(iterations=3, bilateral_xy_std=20, bilateral_rgb_std=9, gaussian_weight=0),
    CRFParams(iterations=3, bilateral_xy_std=20, bilateral_rgb_std=9, prune_below=0.95),
    CRFParams(iterations=3, bilateral_xy_std=20, bilateral_rgb_std=9, half_resolution=True),
    CRFParams(iterations=3, bilateral_xy_std=20, bilateral_rgb_std=9, half_resolution=True, prune_below=0.95),
]


@pytest.mark.parametrize("backend", ["native", "exact", "pydensecrf", "cuda"])
def test_every_setting_gives_what_a_crf_of_its_own_gives(picture, backend: str) -> None:
    if reason := backends.missing(backend):
        pytest.skip(reason)
    probs, image = picture(4, 21, 34)
    many = ManyParameters(probs, image, backend, num_threads=1)
    for params in SETTINGS:
        alone = DenseCRF(params, backend, 1)(probs, image)
        np.testing.assert_array_equal(many(params), alone)
        labels = many.labels(params)
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, alone.argmax(0))


def test_lattices_are_shared_by_settings_that_differ_in_weights(picture) -> None:
    if reason := backends.missing("native"):
        pytest.skip(reason)
    many = ManyParameters(*picture(4, 21, 34), "native", num_threads=1)
    for weight in (3, 4, 5):
        many(replace(SETTINGS[0], bilateral_weight=weight))
    assert many.num_built == 2
    many(replace(SETTINGS[0], bilateral_xy_std=30))
    assert many.num_built == 3
    many(replace(SETTINGS[0], bilateral_xy_std=30, normalization="after"))
    assert many.num_built == 5


def test_raw_scores_are_taken_as_the_parameters_say(picture) -> None:
    probs, image = picture(3, 12, 15)
    params = CRFParams(iterations=2, unary="logits")
    np.testing.assert_array_equal(ManyParameters(probs, image)(params), DenseCRF(params)(probs, image))
    with pytest.raises(ValueError, match=r"expected 0\.\.1"):
        ManyParameters(5 * probs, image)(CRFParams())
