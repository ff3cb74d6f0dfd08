from pathlib import Path

import pytest
from omegaconf import OmegaConf

from deeplab.inference.probabilities import Inference

FILES = sorted((Path(__file__).parents[2] / "conf" / "inference").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_builds_an_inference_and_sets_every_key(path):
    settings = OmegaConf.to_container(OmegaConf.load(path))
    assert settings.keys() == vars(Inference(**settings)).keys()


def test_the_single_scale_file_holds_the_defaults():
    settings = OmegaConf.to_container(OmegaConf.load(next(path for path in FILES if path.stem == "single_scale")))
    assert vars(Inference(**settings)) == vars(Inference())
