"""Order and sharing out of pictures: the same global batches however they are split."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeplab.data.sampling import EvaluationSampler, TrainingSampler
from deeplab.errors import InputError


def global_batches(num_pictures: int, size: int, ranks: int, epoch: int) -> list[list[int]]:
    """Put the global batches together again from what each rank yields."""
    streams = []
    for rank in range(ranks):
        sampler = TrainingSampler(num_pictures, size, 5, ranks, rank)
        sampler.next_batch = epoch * sampler.batches_per_epoch
        pairs = list(sampler)
        assert {pair[0] for pair in pairs} == {epoch}
        assert len(pairs) == len(sampler)
        streams.append(np.array([pair[1] for pair in pairs]).reshape(-1, size // ranks))
    together = np.stack(streams, axis=1)  # batch, rank, picture
    return [batch.ravel().tolist() for batch in together]


@pytest.mark.parametrize("ranks", [1, 2, 4, 16])
def test_global_batches_do_not_depend_on_the_split(ranks: int) -> None:
    whole = global_batches(53, 16, 1, epoch=3)
    assert len(whole) == 3
    assert global_batches(53, 16, ranks, epoch=3) == whole


def test_a_global_batch_that_does_not_divide_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"global_batch_size=10 does not divide among 4 processes; take 8 or 12"):
        TrainingSampler(53, 10, 5, ranks=4)


def test_an_epoch_is_a_permutation_without_the_incomplete_batch() -> None:
    pictures = np.concatenate(global_batches(53, 16, 2, epoch=0))
    assert len(pictures) == len(set(pictures)) == 48
    assert set(pictures) <= set(range(53))
    assert not np.array_equal(pictures, np.concatenate(global_batches(53, 16, 2, epoch=1)))


def test_the_order_is_the_seeds() -> None:
    orders = [TrainingSampler(30, 5, seed).order(0).tolist() for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(30))


def test_pictures_move_freely_between_epochs() -> None:
    sampler = TrainingSampler(10, 5, seed=0)
    first = [int(sampler.order(epoch)[0]) for epoch in range(300)]
    counts = np.bincount(first, minlength=10)
    assert counts.min() >= 12 and counts.max() <= 55  # 30 expected


@pytest.mark.parametrize("num_pictures", [1, 3, 7])
def test_fewer_pictures_than_a_batch_are_gone_through_repeatedly(num_pictures: int) -> None:
    sampler = TrainingSampler(num_pictures, 8, seed=0)
    assert sampler.batches_per_epoch == 1
    order = sampler.order(0).tolist()
    for start in range(0, 8 - num_pictures + 1, num_pictures):
        assert sorted(order[start : start + num_pictures]) == list(range(num_pictures))
    assert len(order) == 8


def test_a_pass_begins_anywhere_and_lasts_an_epoch() -> None:
    sampler = TrainingSampler(40, 12, seed=0, ranks=2, rank=1)
    assert sampler.batches_per_epoch == 3
    stream = []
    for number in (0, 3, 6):
        sampler.next_batch = number
        stream += list(sampler)
    assert [epoch for epoch, _ in stream] == [0] * 18 + [1] * 18 + [2] * 18
    for number in range(7):
        sampler.next_batch = number
        assert list(sampler) == stream[number * 6 : number * 6 + 18]


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(InputError, match="no picture to train on"):
        TrainingSampler(0, 1, seed=0)
    with pytest.raises(InputError, match="global_batch_size=0"):
        TrainingSampler(4, 0, seed=0)


@given(num_pictures=st.integers(0, 60), ranks=st.integers(1, 9))
def test_each_picture_is_evaluated_once_and_evenly(num_pictures: int, ranks: int) -> None:
    shares = [list(EvaluationSampler(num_pictures, ranks, rank)) for rank in range(ranks)]
    assert sorted(chain.from_iterable(shares)) == list(range(num_pictures))
    lengths = [len(EvaluationSampler(num_pictures, ranks, rank)) for rank in range(ranks)]
    assert lengths == [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_three_on_two_and_one_on_four() -> None:
    assert [list(EvaluationSampler(3, 2, rank)) for rank in range(2)] == [[0, 2], [1]]
    assert [list(EvaluationSampler(1, 4, rank)) for rank in range(4)] == [[0], [], [], []]
