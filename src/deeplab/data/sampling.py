"""The order of the pictures: a function of the seed and the epoch, whatever the ranks and workers."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from deeplab.errors import InputError

# Told apart from the stream that augments the pictures (transforms.py).
_ORDER_STREAM = 1


class TrainingSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, picture) pairs of one rank, so that global batch b is the same for any split over ranks.

    Number b of an epoch's global batches, of G pictures each, is the permutation's [b*G, (b+1)*G); rank r takes the
    r-th of its equal shares, consecutive pictures all, as are the groups over which a loss is averaged.

    What is left of the permutation after the last whole global batch waits for another epoch; a set of fewer than G
    pictures is gone through repeatedly, each time in a new order, until one global batch is full.

    `next_batch` is the global batch, counted from the start of training, at which the next pass begins; a pass goes on
    for one epoch's number of batches. The epoch follows from it alone, for trainers count epochs in their own ways
    (Lightning skips one where it resumes at an epoch's end).
    """

    def __init__(self, num_pictures: int, global_batch_size: int, seed: int, ranks: int = 1, rank: int = 0) -> None:
        if num_pictures < 1:
            raise InputError("data.train_split has no picture to train on; choose another split.")
        if global_batch_size < 1 or global_batch_size % ranks:
            below = global_batch_size // ranks * ranks
            nearest = f"{below} or {below + ranks}" if below else str(ranks)
            raise InputError(
                f"optim.global_batch_size={global_batch_size} does not divide among {ranks} processes; take {nearest}."
            )
        assert 0 <= rank < ranks
        self.next_batch = 0
        self.global_batch_size = global_batch_size
        self.share = global_batch_size // ranks
        self.batches_per_epoch = max(1, num_pictures // self.global_batch_size)
        self.num_pictures = num_pictures
        self._seed = seed
        self._ranks = ranks
        self._rank = rank

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the pictures of an epoch over all ranks (batches_per_epoch * global_batch_size,)."""
        needed = self.batches_per_epoch * self.global_batch_size
        rounds = -(-needed // self.num_pictures)
        shuffles = [
            np.random.default_rng([_ORDER_STREAM, self._seed, epoch, number]).permutation(self.num_pictures)
            for number in range(rounds)
        ]
        return np.concatenate(shuffles)[:needed]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        known_epoch = -1
        for number in range(self.next_batch, self.next_batch + self.batches_per_epoch):
            epoch, batch = divmod(number, self.batches_per_epoch)
            if epoch != known_epoch:
                shares = self.order(epoch).reshape(-1, self._ranks, self.share)
                known_epoch = epoch
            for picture in shares[batch, self._rank].tolist():
                yield epoch, picture

    def __len__(self) -> int:
        """Return the number of pictures of one rank in a whole epoch."""
        return self.batches_per_epoch * self.share


class EvaluationSampler(Sampler[int]):
    """Yields each picture exactly once over all ranks: rank r takes pictures r, r + ranks, ...; no padding.

    Dealt out in turn, for lists are sorted, by city or by year, and neighbours are alike in size: no rank gets all the
    large ones. A rank may get none.
    """

    def __init__(self, num_pictures: int, ranks: int = 1, rank: int = 0) -> None:
        assert 0 <= rank < ranks
        self._pictures = range(rank, num_pictures, ranks)

    def __iter__(self) -> Iterator[int]:
        return iter(self._pictures)

    def __len__(self) -> int:
        return len(self._pictures)
