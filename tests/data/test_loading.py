"""Batches out of the loaders, with and without worker processes; damaged files in a worker."""

from collections.abc import Callable
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest
import torch

from deeplab.data.labels import LabelRule
from deeplab.data.loading import TrainingLoader, TrainingPictures, evaluation_loader
from deeplab.data.sampling import TrainingSampler
from deeplab.data.scenes import Scenes
from deeplab.data.transforms import TrainTransform
from deeplab.data.voc import VOC
from deeplab.errors import InputError

MEAN_RGB = (122.675, 116.669, 104.008)


def training_loader(num_workers: int = 0, seed: int = 0, size: int = 2, pictures: int = 11) -> TrainingLoader:
    scenes = Scenes({"train": pictures}, height=40, width=48).split("train")
    transform = TrainTransform(33, [0.75, 1.0], mirror=True, pad_rgb=MEAN_RGB, seed=seed)
    dataset = TrainingPictures(scenes, LabelRule(8), transform)
    return TrainingLoader(dataset, TrainingSampler(pictures, size, seed), num_workers)


def test_a_training_batch() -> None:
    loader = training_loader()
    batches = list(loader)
    assert len(batches) == len(loader) == 5
    image, label = batches[0]["image"], batches[0]["label"]
    assert image.shape == (2, 3, 33, 33) and image.dtype == torch.float32 and image.is_contiguous()
    assert label.shape == (2, 33, 33) and label.dtype == torch.int64
    assert image.max() > 1 and set(label.unique().tolist()) <= {*range(8), 255}
    assert all(isinstance(name, str) for batch in batches for name in batch["id"])
    assert len({name for batch in batches for name in batch["id"]}) == 10


def test_channels_are_rgb_as_the_sample_has_them() -> None:
    scenes = Scenes({"train": 1}, height=40, width=48).split("train")
    transform = TrainTransform(48, [1.0], mirror=False, pad_rgb=MEAN_RGB, seed=0)
    image = TrainingPictures(scenes, LabelRule(8), transform)[0, 0]["image"]
    assert np.array_equal(image.numpy()[:, :40], scenes[0]["image"].transpose(2, 0, 1))


def test_an_evaluation_sample(make_voc: Callable[..., Path]) -> None:
    pictures = VOC(make_voc()).split("train")
    samples = list(evaluation_loader(pictures, LabelRule(21), num_workers=0))
    assert [sample["id"] for sample in samples] == ["a", "b", "c"]
    for index, sample in enumerate(samples):
        assert sample["image"].dtype == sample["label"].dtype == torch.uint8
        assert np.array_equal(sample["image"].numpy(), pictures[index]["image"])
        assert np.array_equal(sample["label"].numpy(), pictures[index]["label"])


def test_loading_takes_nothing_from_the_global_stream_of_random_numbers() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    np.random.seed(1)
    list(training_loader())
    assert torch.equal(torch.rand(3), expected)


def test_a_state_goes_on_at_the_next_global_batch() -> None:
    whole = training_loader(size=4)
    expected = [batch["id"] for _ in range(4) for batch in whole]
    assert len(expected) == 8
    for done in range(6):
        stopped = training_loader(size=4)
        assert [batch["id"] for batch in islice(chain(stopped, stopped, stopped), done)] == expected[:done]
        state = stopped.state_dict()
        assert state == {"global_batch": done, "num_pictures": 11, "global_batch_size": 4, "pictures": 0}
        resumed = training_loader(size=4)
        resumed.load_state_dict(state)
        assert [batch["id"] for batch in resumed] == expected[done : done + 2]


def test_a_state_of_other_data_is_refused() -> None:
    with pytest.raises(InputError, match="11 training pictures in global batches of 2, this run has 12"):
        training_loader(pictures=12).load_state_dict(training_loader(pictures=11).state_dict())


@pytest.mark.slow
def test_a_broken_picture_is_the_same_sentence_with_and_without_workers(make_voc: Callable[..., Path]) -> None:
    root = make_voc()
    picture = root / "VOC2012/JPEGImages/b.jpg"
    picture.write_bytes(picture.read_bytes()[:-40])
    sentence = f"{picture}: this is no picture that can be read, or it breaks off; replace the file."
    pictures = VOC(root).split("train")
    with pytest.raises(InputError) as caught:
        list(evaluation_loader(pictures, LabelRule(21), num_workers=0))
    assert str(caught.value) == sentence
    dataset = TrainingPictures(pictures, LabelRule(21), TrainTransform(17, [1.0], True, MEAN_RGB, 0))
    for num_workers in (0, 1):
        with pytest.raises(InputError) as caught:
            list(TrainingLoader(dataset, TrainingSampler(3, 3, 0), num_workers))
        assert str(caught.value) == sentence


@pytest.mark.slow
def test_workers_change_nothing() -> None:
    alone, with_two = training_loader(0), training_loader(2)
    for _ in range(2):
        for one, other in zip(alone, with_two, strict=True):
            assert one["id"] == other["id"]
            assert torch.equal(one["image"], other["image"]) and torch.equal(one["label"], other["label"])
            assert one["image"].stride() == other["image"].stride()
