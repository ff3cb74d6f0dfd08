"""Sheets for the eye: pictures beside their masks, and what training cuts out of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from deeplab.data.labels import LabelRule
from deeplab.data.reading import UInt8Array
from deeplab.data.samples import PictureSet
from deeplab.data.transforms import TrainTransform
from deeplab.errors import InputError
from deeplab.reporting.palette import Palette
from deeplab.reporting.sheets import Row, sheet
from deeplab.reporting.writing import replacing

PAD_RGB = (124, 116, 104)  # ImageNet's mean colour; in a training the network's own input decides


class Sheets:
    """Writes sheets of at most `count` pictures of a split, evenly spread, into `folder`."""

    def __init__(
        self,
        folder: Path,
        rule: LabelRule,
        class_names: Sequence[str],
        palette: Palette,
        transform: TrainTransform,
        count: int = 12,
    ) -> None:
        self.folder = folder
        self.rule = rule
        self.class_names = class_names
        self.palette = palette
        self.transform = transform
        self.count = count

    def write(self, name: str, pictures: PictureSet, with_crops: bool) -> list[Path]:
        """Write NAME.png, pictures beside their masks, and if wanted NAME_crops.png; return what was written.

        Pictures that cannot be read are left out: `data check` has named them.
        """
        whole, crops = [], []
        for index, image, label in self._samples(pictures):
            caption = pictures.ids[index]
            whole.append(Row(image, [label], caption))
            if with_crops:
                crop = self.transform(image, label, epoch=0, picture=index)
                crops.append(Row(crop.image.clip(0, 255).astype(np.uint8), [crop.label], caption))
        stem = Path(name).name.removesuffix(".txt")  # a split can be the path of a list
        written = [(f"{stem}.png", whole, ("picture", "mask")), (f"{stem}_crops.png", crops, ("training crop", "mask"))]
        return [self._draw(file, rows, titles) for file, rows, titles in written if rows]

    def _samples(self, pictures: PictureSet) -> Iterator[tuple[int, UInt8Array, UInt8Array]]:
        count = min(len(pictures), self.count)
        for index in (i * len(pictures) // count for i in range(count)):
            try:
                sample = pictures[index]
                yield index, sample["image"], self.rule(sample["label"], pictures.label_source(index))
            except InputError:
                continue

    def _draw(self, file: str, rows: Sequence[Row], titles: Sequence[str]) -> Path:
        with replacing(self.folder / file) as stream:
            sheet(rows, self.class_names, titles, self.palette).save(stream, format="PNG")
        return self.folder / file
