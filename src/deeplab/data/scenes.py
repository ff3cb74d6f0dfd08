"""Generated pictures: a data set that needs no download, made anew from (seed, index) whenever it is asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from deeplab.data.lists import is_list_file
from deeplab.data.reading import UInt8Array
from deeplab.data.samples import Sample
from deeplab.data.scene_drawing import CLASS_NAMES, draw_scene
from deeplab.errors import InputError

_FIRST_INDEX = {"train": 0, "val": 1_000_000, "test": 2_000_000}
_SMALLEST_SIDE = 32
_KEPT_BYTES = 128 * 2**20


class Scenes:
    """Heaps of seven kinds of things (balls, crates, rings, ropes, stars, leaves, mugs) on textured ground.

    Kinds share colours, so that their shape must be learnt; outlines are sharp in the picture, some parts are two or
    three pixels thin, and light is uneven: an output stride of 8 loses what the dense CRF can win back.

    `sizes` gives the number of pictures of each split (train, val, test); the splits share no picture. Each pixel
    within `void_outline` pixels of an edge between labels is void (255); 0 leaves no void.

    Raises InputError for sizes that cannot be, and from `split` for a split that has no size.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        height: int = 160,
        width: int = 200,
        seed: int = 0,
        void_outline: int = 0,
    ) -> None:
        if not sizes or not set(sizes) <= set(_FIRST_INDEX) or not all(1 <= n <= 1_000_000 for n in sizes.values()):
            raise InputError(
                f"data.layout.sizes={dict(sizes)}: its keys are {', '.join(_FIRST_INDEX)}, its values 1 to a million."
            )
        if min(height, width) < _SMALLEST_SIDE:
            raise InputError(f"data.layout: {width}x{height} pixels are too few; both sides are at least 32.")
        if seed < 0 or void_outline < 0:
            raise InputError(f"data.layout: seed={seed} and void_outline={void_outline} must not be negative.")
        self._sizes = dict(sizes)
        self._height = height
        self._width = width
        self._seed = seed
        self._void_outline = void_outline

    def split(self, name: str) -> "ScenePictures":
        """Open the split train, val or test."""
        if name not in self._sizes:
            why = ": scenes are generated, no list names them" if is_list_file(name) else ""
            raise InputError(f"split {name}{why}; choose one of {', '.join(self._sizes)} (data.layout.sizes).")
        return ScenePictures(name, self._sizes[name], self._height, self._width, self._seed, self._void_outline)


class ScenePictures:
    """One split of the scenes; sample i is drawn when it is asked for, and always the same.

    The first 128 MiB of samples are kept, a thousand of the default size, for drawing costs more than decoding a file.
    """

    def __init__(self, split: str, count: int, height: int, width: int, seed: int, void_outline: int) -> None:
        self.ids = [f"{split}_{number:06d}" for number in range(count)]
        self.masks: Sequence[Path] = ()
        self._first = _FIRST_INDEX[split]
        self._height = height
        self._width = width
        self._seed = seed
        self._void_outline = void_outline
        self._kept: dict[int, tuple[UInt8Array, UInt8Array]] = {}
        self._keep_at_most = _KEPT_BYTES // (4 * height * width)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        drawn = self._kept.get(index)
        if drawn is None:
            drawn = draw_scene(self._seed, self._first + index, self._height, self._width, self._void_outline)
            if len(self._kept) < self._keep_at_most:
                self._kept[index] = drawn
        image, label = drawn
        return {"id": self.ids[index], "image": image.copy(), "label": label.copy()}

    def label_source(self, index: int) -> str:
        return f"scene {self.ids[index]} (classes {', '.join(CLASS_NAMES)})"
