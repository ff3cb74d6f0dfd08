"""A checkpoint used from Python answers as `deeplab predict` and `evaluate` do."""

import numpy as np
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

from deeplab.config.explain import conf_dir
from deeplab.errors import InputError
from deeplab.segmenter import Segmenter


def picture(trained, number):
    return np.asarray(Image.open(trained.data / "images" / "val" / f"{number}.jpg"))


def scored(trained, folder, number):
    return np.asarray(Image.open(trained.folder / folder / "val" / f"{number}.png"))


def test_labels_are_those_of_evaluate_with_the_crf_and_without(trained, checkpoint):
    with_crf, without = Segmenter.load(checkpoint), Segmenter.load(checkpoint, overrides=["crf=none"])
    assert with_crf.class_names == ["ground", "grass", "sky"]
    assert without.crf is None
    for number in range(3):
        image = picture(trained, number)
        np.testing.assert_array_equal(with_crf.labels(image), scored(trained, "predictions_crf", number))
        np.testing.assert_array_equal(without.labels(image), scored(trained, "predictions", number))
        np.testing.assert_array_equal(with_crf.probabilities(image).argmax(0), without.labels(image))
        assert with_crf.overlay(image, with_crf.labels(image)).width >= image.shape[1]


def test_pictures_over_the_limit_keep_the_network_s_labels(trained, checkpoint):
    image = picture(trained, 0)
    height, width = image.shape[:2]
    segmenter = Segmenter.load(checkpoint, overrides=[f"crf.max_pixels={height * width - 1}"])
    np.testing.assert_array_equal(segmenter.labels(image), scored(trained, "predictions", 0))


def test_in_a_program_of_hydra_s(checkpoint):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        around = GlobalHydra.instance().hydra
        assert Segmenter.load(checkpoint, overrides=["inference.flip=true"]).inference.flip
        assert GlobalHydra.instance().hydra is around
    assert not GlobalHydra.instance().is_initialized()


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["crf=nonne"], "no crf=nonne"),
        (["crf.iteration=3"], "did you mean crf.iterations"),
        (["inference.tile=0"], "inference.tile=0"),
        (["crf.workers=0"], "crf.workers=0"),
        (["crf"], "'crf' is no override"),
    ],
)
def test_what_does_not_fit_is_one_sentence(checkpoint, overrides, part):
    with pytest.raises(InputError, match=part):
        Segmenter.load(checkpoint, overrides=overrides)


def test_a_file_that_is_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.ckpt"):
        Segmenter.load(tmp_path / "nowhere.ckpt")
