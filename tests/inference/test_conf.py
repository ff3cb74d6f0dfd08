from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from deeplab.inference.probabilities import Inference

FILES = sorted((Path(__file__).parents[2] / "conf" / "inference").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_builds_an_inference_and_sets_every_key(path):
    settings = OmegaConf.load(path)
    inference = instantiate(settings, _convert_="all")
    assert isinstance(inference, Inference)
    assert {key for key in settings if key != "_target_"} == set(vars(inference))


def test_the_single_scale_file_holds_the_defaults():
    settings = OmegaConf.load(next(path for path in FILES if path.stem == "single_scale"))
    assert vars(instantiate(settings, _convert_="all")) == vars(Inference())
