"""What every data set hands out: samples of one picture and its labels, read when they are asked for."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypedDict

from deeplab.data.reading import PICTURE_SUFFIXES, UInt8Array, read_mask, read_picture
from deeplab.errors import InputError


class Sample(TypedDict):
    """One picture: `image` uint8 (H, W, 3) RGB, `label` uint8 (H, W) as the mask file has it."""

    id: str
    image: UInt8Array
    label: UInt8Array


class PictureSet(Protocol):
    """One split of a data set; samples are read lazily.

    `ids` are unique and usable as relative paths without a suffix; `masks` are the files of the labels, empty where
    labels are generated; `label_source(i)` is what a message calls the labels of sample i.
    """

    @property
    def ids(self) -> Sequence[str]: ...

    @property
    def masks(self) -> Sequence[Path]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def label_source(self, index: int) -> str: ...


class Layout(Protocol):
    """How a data set lies on disk: one constructor, one method."""

    def split(self, name: str) -> PictureSet: ...


class FileLayout(Layout, Protocol):
    """A layout of files, all of which `files` names, those that are missing included."""

    def files(self, name: str) -> "FilePictures": ...


class FilePictures:
    """Pairs of picture and mask files.

    Raises InputError for two pictures of one id, and on reading a pair whose sizes differ; sizes are those after the
    picture's EXIF rotation.
    """

    def __init__(self, ids: Sequence[str], images: Sequence[Path], masks: Sequence[Path]) -> None:
        assert len(ids) == len(images) == len(masks)
        if len(set(ids)) < len(ids):
            twice = next(name for name, count in Counter(ids).items() if count > 1)
            raise InputError(f"{twice}: two pictures of the split have this name; rename one of them.")
        self.ids = list(ids)
        self.images = list(images)
        self.masks = list(masks)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        image, label = read_picture(self.images[index]), read_mask(self.masks[index])
        if image.shape[:2] != label.shape:
            raise InputError(
                f"{self.masks[index]}: the mask is {_size(label)} pixels, but its picture {self.images[index]} is "
                f"{_size(image)} (as viewed, after EXIF rotation); make them the same size."
            )
        return {"id": self.ids[index], "image": image, "label": label}

    def label_source(self, index: int) -> str:
        return str(self.masks[index])


class Selection:
    """Some samples of a picture set, in the given order."""

    def __init__(self, pictures: PictureSet, indices: Sequence[int]) -> None:
        self._pictures = pictures
        self._indices = list(indices)
        self.ids = [pictures.ids[i] for i in self._indices]
        self.masks = [pictures.masks[i] for i in self._indices] if pictures.masks else []

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        return self._pictures[self._indices[index]]

    def label_source(self, index: int) -> str:
        return self._pictures.label_source(self._indices[index])


def another_suffix(mask: Path, image: Path) -> Path | None:
    """A file that has a missing mask's name but for the suffix, such as x.tif for x.png; not the picture itself."""
    # Asked one by one: a list of the folder for each of many missing masks would take minutes.
    spellings = [spelling for each in (*PICTURE_SUFFIXES, ".gif", ".npy", ".mat") for spelling in (each, each.upper())]
    found = (path for path in map(mask.with_suffix, spellings) if path not in (mask, image) and path.is_file())
    return next(found, None)


def _size(array: UInt8Array) -> str:
    height, width = array.shape[:2]
    return f"{width}x{height}"
