"""The DataModule: one data set's loaders for training, validation and test."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl

from deeplab.data.fingerprint import fingerprint
from deeplab.data.labels import VOID, LabelRule
from deeplab.data.loading import PictureLoader, TrainingLoader, TrainingPictures, evaluation_loader
from deeplab.data.palette import class_palette
from deeplab.data.samples import Layout, PictureSet, Selection
from deeplab.data.sampling import TrainingSampler
from deeplab.data.splits import open_split, share_of_train
from deeplab.data.transforms import TrainTransform
from deeplab.errors import InputError

# One picture at a time is decoded faster than any network scores it.
_EVALUATION_WORKERS = 2


class SegmentationData(pl.LightningDataModule):
    """Loaders over a layout's splits; the keywords are the keys of `conf/data/*.yaml`.

    - training: `train_split` without `hold_out` pictures, chosen by `hold_out_seed` alone; batches as TrainingLoader
      gives them, in an order and with augmentations that depend on `seed`, the epoch and the picture only;
    - validation: the first `val_limit` pictures (all if None) of `val_split`, whole, one at a time, each on one rank;
    - test: the first `test_first_n` pictures (all if None) of `test_split`, `val_split` unless it is set, with
      `skip_unreadable` those that can be read.
    A split named `held_out` is what was held out of training.

    A training batch is this rank's whole share of the global batch; the LightningModule cuts it into micro-batches.
    The samplers know the ranks, so the trainer must have use_distributed_sampler=False.

    Raises InputError for values that cannot be, and, when a split is opened, for files that are missing.
    """

    def __init__(
        self,
        layout: Layout,
        num_classes: int,
        class_names: Sequence[str],
        pad_rgb: Sequence[float],
        seed: int,
        crop_size: int,
        scales: Sequence[float] = (1.0,),
        scale_range: Sequence[float] | None = None,
        mirror: bool = True,
        color_jitter: Mapping[str, float] | None = None,
        global_batch_size: int = 1,
        num_workers: int = 0,
        train_split: str = "train",
        val_split: str = "val",
        val_limit: int | None = None,
        hold_out: int = 0,
        hold_out_seed: int = 0,
        ignore_label: int = VOID,
        label_map: Mapping[int, int] | None = None,
        void_outlines: bool = False,
        palette: str | Sequence[Sequence[int]] = "voc",
        name: str = "",
        root: str | None = None,
    ) -> None:
        super().__init__()
        # With fewer pictures than ranks a rank evaluates nothing.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        _check_counts(num_classes, class_names, num_workers, val_limit)
        self.name = name
        self.root = root
        self.num_classes = num_classes
        self.class_names = list(class_names)
        self.void_outlines = void_outlines
        self.palette = class_palette(palette, num_classes)
        self.test_split: str | None = None
        self.test_first_n: int | None = None
        self.skip_unreadable = False
        self._layout = layout
        self._rule = LabelRule(num_classes, label_map, ignore_label)
        self._transform = TrainTransform(crop_size, scales, mirror, pad_rgb, seed, color_jitter, scale_range)
        self._seed = seed
        self._global_batch_size = global_batch_size
        self._num_workers = num_workers
        self._train_split = train_split
        self._val_split = val_split
        self._val_limit = val_limit
        self._hold_out = hold_out
        self._hold_out_seed = hold_out_seed
        self._train: PictureSet | None = None
        self._val: PictureSet | None = None

    def setup(self, stage: str) -> None:
        if stage == "fit" and self._train is None:
            self._train = self._checked(self.training_pictures())
        if stage in ("fit", "validate") and self._val is None:
            self._val = self._checked(self.pictures(self._val_split))

    def fingerprints(self) -> dict[str, Any]:
        """Return what tells another state of the training and validation pictures from this one, by use."""
        self.setup("fit")
        assert self._train is not None and self._val is not None
        return {"train": fingerprint(self._train), "val": fingerprint(self._val)}

    def pictures(self, split: str) -> PictureSet:
        """Open all pictures of a split, of which `held_out` is one."""
        return open_split(self._layout, split, self._train_split, self._hold_out, self._hold_out_seed)

    def test_pictures(self, split: str) -> PictureSet:
        """Open the pictures of a split that are tested."""
        return _first(self.pictures(split), self.test_first_n)

    def training_pictures(self) -> PictureSet:
        """Open the pictures that training sees."""
        if not self._hold_out:
            return self._layout.split(self._train_split)
        return share_of_train(self._layout, self._train_split, self._hold_out, self._hold_out_seed, held_out=False)

    def train_dataloader(self) -> TrainingLoader:
        pictures = self._train or self._checked(self.training_pictures())
        ranks, rank = self._ranks()
        sampler = TrainingSampler(len(pictures), self._global_batch_size, self._seed, ranks, rank)
        dataset = TrainingPictures(pictures, self._rule, self._transform)
        return TrainingLoader(dataset, sampler, self._num_workers, pictures.ids)

    def val_dataloader(self) -> PictureLoader:
        pictures = self._val or self._checked(self.pictures(self._val_split))
        return self._evaluation_loader(_first(pictures, self._val_limit))

    def test_dataloader(self, split: str | None = None) -> PictureLoader:
        pictures = self.test_pictures(split or self.test_split or self._val_split)
        return self._evaluation_loader(self._checked(pictures, self.skip_unreadable), self.skip_unreadable)

    def _checked(self, pictures: PictureSet, skip_unreadable: bool = False) -> PictureSet:
        self._rule.check_set(pictures, skip_unreadable)
        return pictures

    def _evaluation_loader(self, pictures: PictureSet, skip_unreadable: bool = False) -> PictureLoader:
        ranks, rank = self._ranks()
        workers = min(self._num_workers, _EVALUATION_WORKERS)
        return evaluation_loader(pictures, self._rule, workers, ranks, rank, skip_unreadable)

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)


def _first(pictures: PictureSet, count: int | None) -> PictureSet:
    return pictures if count is None or count >= len(pictures) else Selection(pictures, range(count))


def _check_counts(num_classes: int, class_names: Sequence[str], num_workers: int, val_limit: int | None) -> None:
    if len(class_names) != num_classes or len(set(class_names)) != num_classes:
        raise InputError(f"data.class_names has {len(set(class_names))} different names for {num_classes} classes.")
    if num_workers < 0:
        raise InputError(f"data.num_workers={num_workers}: it must be 0 (no worker process) or more.")
    if val_limit is not None and val_limit < 1:
        raise InputError(f"data.val_limit={val_limit}: it must be at least 1, or null for all pictures.")
