"""Datasets and loaders: what runs in the worker processes, which import neither Lightning nor Hydra."""

import logging
import os
import signal
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence, Sized
from multiprocessing import resource_tracker
from typing import Any, cast

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from deeplab.data.labels import LabelRule
from deeplab.data.samples import PictureSet
from deeplab.data.sampling import EvaluationSampler, TrainingSampler
from deeplab.data.transforms import TrainTransform
from deeplab.errors import InputError, UnreadableFileError

log = logging.getLogger(__name__)

ANNOUNCEMENTS = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}

Batch = dict[str, Any]


class TrainingPictures(Dataset[Batch]):
    """Augmented training samples, asked for by (epoch, picture).

    A sample: `id`, `image` float32 (3, crop, crop) RGB 0..255, `label` int64 (crop, crop) with 255 = void.
    """

    def __init__(self, pictures: PictureSet, rule: LabelRule, transform: TrainTransform) -> None:
        self._pictures = pictures
        self._rule = rule
        self._transform = transform

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        epoch, index = key
        sample = self._pictures[index]
        label = self._rule(sample["label"], self._pictures.label_source(index))
        changed = self._transform(sample["image"], label, epoch, index)
        image = torch.from_numpy(changed.image).permute(2, 0, 1)
        return {"id": sample["id"], "image": image, "label": torch.from_numpy(changed.label).long()}


class EvaluationPictures(Dataset[Batch]):
    """Whole pictures as they are: `id`, `image` uint8 (H, W, 3) RGB, `label` uint8 (H, W) with 255 = void."""

    def __init__(self, pictures: PictureSet, rule: LabelRule) -> None:
        self._pictures = pictures
        self._rule = rule

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Batch:
        sample = self._pictures[index]
        label = self._rule(sample["label"], self._pictures.label_source(index))
        return {"id": sample["id"], "image": torch.from_numpy(sample["image"]), "label": torch.from_numpy(label)}


class PictureLoader(DataLoader[Batch]):
    """A DataLoader whose workers are spawned, and which raises a worker's InputError with its own sentence.

    Fork would copy the threads' locks of torch and hang; torch's own re-raising wraps the message in a traceback.
    With `skip_unreadable` a picture or mask that cannot be read is left out with a warning that names it.
    """

    def __init__(
        self, dataset: Dataset[Batch], num_workers: int, skip_unreadable: bool = False, **options: Any
    ) -> None:
        self._skip_unreadable = skip_unreadable
        super().__init__(
            _Reporting(dataset),
            num_workers=num_workers,
            multiprocessing_context="spawn" if num_workers else None,
            persistent_workers=num_workers > 0,
            worker_init_fn=_prepare_worker if num_workers else None,
            pin_memory=torch.cuda.is_available(),
            # Its own generator, so that starting an epoch takes no number from the stream that dropout uses.
            generator=torch.Generator().manual_seed(0),
            **options,
        )

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        # Workers inherit that these are blocked. Who announces a job's end to all its processes means this one, which
        # has a checkpoint to write first and needs its workers for that. The tracker of shared memory comes first: it
        # is started with the first worker otherwise, and its start lets SIGTERM through again.
        resource_tracker.ensure_running()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ANNOUNCEMENTS)
        try:
            batches = super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for batch in batches:
            if isinstance(batch, UnreadableFileError) and self._skip_unreadable:
                log.warning("Left out: %s", batch)
            elif isinstance(batch, InputError):
                raise batch
            else:
                yield batch


class EvaluationLoader(PictureLoader):
    """One rank's share of whole pictures, which may be none.

    Its length is then 1 nevertheless: a loader of length 0 would have Lightning leave the whole evaluation out on that
    rank, together with the exchanges at its end, in which the others would wait.
    """

    def __len__(self) -> int:
        return max(1, super().__len__())


class TrainingLoader(PictureLoader):
    """One rank's share of each global batch, each pass going on where the last one ended; resumable.

    A batch: `id` list of str, `image` float32 (B, 3, crop, crop), `label` int64 (B, crop, crop). The state, which
    Lightning stores in its checkpoints, counts the global batches handed out, so that it holds for every rank.

    Lightning loads it only if the loader was not made before the checkpoint was read, so nothing may ask for
    `trainer.estimated_stepping_batches` on the way (Lightning issue 20550).
    """

    def __init__(
        self, dataset: Dataset[Batch], sampler: TrainingSampler, num_workers: int, ids: Sequence[str] = ()
    ) -> None:
        super().__init__(
            dataset,
            num_workers,
            sampler=sampler,
            batch_size=sampler.share,
            drop_last=True,
            collate_fn=_collate,
        )
        self._order = sampler
        self._names = zlib.crc32("\n".join(ids).encode())
        self._handed_out = 0  # since the start of training

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        self._order.next_batch = self._handed_out
        for batch in super().__iter__():
            self._handed_out += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the position in the training data, and what it is a position in."""
        return {"global_batch": self._handed_out, **self._identity()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next pass begin at a position.

        Raises InputError for a position in other data: another number of pictures or another global batch.
        """
        now = self._identity()
        before = {key: state.get(key, now[key]) for key in now}  # older checkpoints do not tell the names
        if before["pictures"] != now["pictures"]:
            raise InputError(
                f"The checkpoint was made with other training pictures ({before['num_pictures']} of them) than this "
                f"run has ({self._order.num_pictures}): their names differ; resume with the same data, or start a new "
                "run from its weights by init.path."
            )
        if before != now:
            raise InputError(
                f"The checkpoint was made with {before['num_pictures']} training pictures in global batches of "
                f"{before['global_batch_size']}, this run has {self._order.num_pictures} in batches of "
                f"{self._order.global_batch_size}; resume with the same data and global batch, or start a new run."
            )
        self._handed_out = state["global_batch"]

    def _identity(self) -> dict[str, int]:
        return {
            "num_pictures": self._order.num_pictures,
            "global_batch_size": self._order.global_batch_size,
            "pictures": self._names,
        }


def evaluation_loader(
    pictures: PictureSet,
    rule: LabelRule,
    num_workers: int,
    ranks: int = 1,
    rank: int = 0,
    skip_unreadable: bool = False,
) -> EvaluationLoader:
    """Return a loader of one rank's share of whole pictures, one at a time and not batched."""
    return EvaluationLoader(
        EvaluationPictures(pictures, rule),
        num_workers,
        skip_unreadable,
        sampler=EvaluationSampler(len(pictures), ranks, rank),
        batch_size=None,
        collate_fn=_unchanged,
    )


class _Reporting(Dataset[Any]):
    """Hands over an InputError as a value, which keeps its type and its message on the way out of a worker."""

    def __init__(self, dataset: Dataset[Batch]) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(cast("Sized", self._dataset))

    def __getitem__(self, key: Any) -> Batch | InputError:
        try:
            return self._dataset[key]
        except InputError as error:
            return error


def _collate(samples: list[Batch | InputError]) -> Batch | InputError:
    for sample in samples:
        if isinstance(sample, InputError):
            return sample
    return cast("Callable[[Any], Batch]", default_collate)(samples)


def _unchanged(sample: Batch | InputError) -> Batch | InputError:
    return sample


def _prepare_worker(_: int) -> None:
    # Each worker would otherwise start a pool of OpenCV threads, which fight for the same cores.
    cv2.setNumThreads(0)
    threading.Thread(target=_end_with_parents_word, daemon=True).start()


def _end_with_parents_word() -> None:
    """SIGTERM ends a worker only if its own parent sends it, as torch does to workers that do not stop."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
