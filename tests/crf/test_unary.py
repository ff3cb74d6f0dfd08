import numpy as np
import pytest

from deeplab.crf import CRFParams, DenseCRF
from deeplab.crf.unary import as_scores


@pytest.mark.parametrize("unary", ["probabilities", "logits"])
def test_probabilities_serve_either_unary(unary: str) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(3, 6, 7)).astype(np.float32)  # no probability below the clip: both are the same CRF
    probs = np.exp(logits) / np.exp(logits).sum(0)
    image = random.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    expected = DenseCRF(CRFParams(iterations=2), "exact")(probs, image)
    refined = DenseCRF(CRFParams(iterations=2, unary=unary), "exact")(as_scores(probs, unary), image)
    np.testing.assert_allclose(refined, expected, atol=1e-5)


def test_a_probability_of_zero_stays_finite() -> None:
    assert np.isfinite(as_scores(np.zeros((2, 1, 1), np.float32), "logits")).all()
