"""The labels that a mask may hold, and what each of its values means."""

from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deeplab.data.reading import UInt8Array, read_mask
from deeplab.data.samples import PictureSet
from deeplab.errors import InputError, UnreadableFileError

VOID = 255

# Enough to know a data set by, cheap enough (a millisecond each) to look at before every run.
_MASKS_LOOKED_AT = 32


class LabelRule:
    """Turns the values of a mask file into labels 0..num_classes-1 and 255 (void), and refuses every other value.

    `label_map` gives the label of a value, values outside it keep theirs; then `ignore_label` becomes 255. Its numbers
    may be texts, as a YAML file's keys can be. Without a label_map a two-class mask that holds only 0 and 255 is
    refused: such a mask mostly marks its foreground by 255, which would silently be void. `{255: 1}` says foreground,
    `{255: 255}` says void.

    Raises InputError for a rule that cannot be, and, when called, for a mask that breaks it.
    """

    def __init__(self, num_classes: int, label_map: Mapping[Any, Any] | None = None, ignore_label: int = VOID) -> None:
        if not 1 <= num_classes < VOID:
            raise InputError(f"data.class_names has {num_classes} entries; masks of 8 bits allow 1 to {VOID - 1}.")
        if not 0 <= ignore_label <= 255:
            raise InputError(f"data.ignore_label={ignore_label}: it must be a value of an 8-bit mask, 0 to 255.")
        self.num_classes = num_classes
        self.ignore_label = ignore_label
        self.label_map = _whole_numbers(label_map)
        self._table = np.arange(256, dtype=np.uint8)
        for key, value in (self.label_map or {}).items():
            if not 0 <= key <= 255 or not (0 <= value < num_classes or value in (VOID, ignore_label)):
                raise InputError(
                    f"data.label_map={{{key}: {value}}}: keys are mask values 0 to 255, values are labels "
                    f"0 to {num_classes - 1} or {VOID} (void)."
                )
            self._table[key] = value
        self._table[self._table == ignore_label] = VOID
        self._allowed = (self._table < num_classes) | (self._table == VOID)
        self._changes_values = bool((self._table != np.arange(256)).any())

    def __call__(self, mask: UInt8Array, source: str) -> UInt8Array:
        """Apply the rule to a mask uint8 (H, W); `source` names it in messages."""
        present = _values(mask)
        if self.num_classes == 2:
            self.check_values(set(present.tolist()), source)
        if not self._allowed[present].all():
            value = int(present[~self._allowed[present]][0])
            raise InputError(
                f"{source}: label {value} is outside 0..{self.num_classes - 1} and not {VOID} (void); list all classes "
                f"in data.class_names, or say what {value} means with data.label_map."
            )
        return np.asarray(cv2.LUT(mask, self._table), dtype=np.uint8) if self._changes_values else mask

    def check_set(self, pictures: PictureSet, skip_unreadable: bool = False) -> None:
        """Refuse a set whose masks, as far as looked at (32 at most, evenly spread), hold only 0 and 255 together.

        With more than two classes a single such mask can be right: nothing but background and void.
        """
        count = min(len(pictures.masks), _MASKS_LOOKED_AT)
        if not count:
            return
        indices = [i * len(pictures.masks) // count for i in range(count)]
        masks = [pictures.masks[i] for i in indices]
        present = {int(value) for values in self._readable_values(masks, skip_unreadable) for value in values}
        self.check_values(present, str(masks[0]))

    def check_values(self, present: Set[int], source: str) -> None:
        """Refuse the values of all masks of a set, of which `source` names one, if they are 0 and 255 or 255 alone."""
        if self._may_hide_foreground(present):
            raise InputError(self._hidden_foreground(source))

    @staticmethod
    def _readable_values(masks: Sequence[Path], skip_unreadable: bool) -> Iterator[np.ndarray]:
        for path in masks:
            try:
                yield _values(read_mask(path))
            except UnreadableFileError:
                if not skip_unreadable:
                    raise

    def _may_hide_foreground(self, present: Set[int]) -> bool:
        return self.label_map is None and self.ignore_label == VOID and present in ({0, VOID}, {VOID})

    @staticmethod
    def _hidden_foreground(source: str) -> str:
        return (
            f"{source}: the mask holds only 0 and 255, and 255 means void; if 255 marks the foreground, set "
            "'data.label_map={255: 1}', if it is void indeed, 'data.label_map={255: 255}'."
        )


def _whole_numbers(label_map: Any) -> dict[int, int] | None:
    """The pairs of a map as numbers; None for none."""
    if not label_map:
        return None
    pairs = label_map.items() if isinstance(label_map, Mapping) else [(label_map, None)]
    numbers = {}
    for key, value in pairs:
        number, label = _whole_number(key), _whole_number(value)
        if number is None or label is None:
            raise InputError(
                f"data.label_map={label_map}: write mask values and their labels as pairs of whole numbers, such as "
                "'data.label_map={255: 1}'."
            )
        numbers[number] = label
    return numbers


def _whole_number(value: Any) -> int | None:
    is_one = type(value) is int or (isinstance(value, str) and value.removeprefix("-").isdecimal())
    return int(value) if is_one else None


def _values(mask: UInt8Array) -> np.ndarray:
    histogram = cv2.calcHist([mask], [0], None, [256], [0, 256])
    return np.flatnonzero(histogram)
