"""`data prepare`: from a data set's name to its recipe."""

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deeplab.errors import InputError
from deeplab.preparation import cityscapes, coco, coco_stuff, context, person_part, voc
from deeplab.preparation.masks import MaskWriter
from deeplab.preparation.obtaining import Obtaining
from deeplab.preparation.originals import Original
from deeplab.preparation.recipe import Kitchen


@dataclass(frozen=True)
class Recipe:
    """What a data set is made of, and how; `cook` returns sentences on what was done."""

    originals: tuple[Original, ...]
    cook: Callable[[Kitchen], list[str]]


def recipe(name: str, class_names: Sequence[str]) -> Recipe:
    """Return the recipe of a data set of `conf/data`; raises InputError for one that needs none."""
    recipes = {
        "voc12": Recipe(voc.ORIGINALS, voc.prepare_voc),
        "voc12_aug": Recipe(voc.AUG_ORIGINALS, voc.prepare_voc_aug),
        "pascal_context": Recipe(context.ORIGINALS, context.prepare_context),
        "person_part": Recipe(person_part.ORIGINALS, person_part.prepare_person_part),
        "cityscapes": Recipe(cityscapes.ORIGINALS, cityscapes.prepare_cityscapes),
        "coco": Recipe(coco.ORIGINALS, partial(coco.prepare_coco, class_names=list(class_names))),
        "coco_stuff_10k": Recipe(coco_stuff.ORIGINALS_10K, coco_stuff.prepare_coco_stuff_10k),
        "coco_stuff_164k": Recipe(coco_stuff.ORIGINALS_164K, coco_stuff.prepare_coco_stuff_164k),
    }
    if name not in recipes:
        raise InputError(f"data={name}: there is nothing to prepare; data sets that need it are {', '.join(recipes)}.")
    return recipes[name]


def prepare(steps: Recipe, obtain: Obtaining, writer: MaskWriter) -> list[str]:
    """Bring a data set below its root and make its masks; return sentences on what was done.

    Raises InputError as the parts do, and if another process prepares the same root.
    """
    obtain.check_archives(steps.originals)
    with _alone(obtain.root):
        return steps.cook(Kitchen(obtain.root, obtain, writer))


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    place = root / ".preparing"
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = place.open("w")
    except OSError as error:
        raise InputError(f"root={root}: cannot be written ({error.strerror}); name another folder.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"root={root}: another process prepares it; wait until it is done.") from error
        try:
            yield
        finally:
            place.unlink(missing_ok=True)
