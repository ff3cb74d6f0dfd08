"""The pictures of a split, of which one may be what was held out of training."""

from deeplab.data.lists import HELD_OUT, hold_out
from deeplab.data.samples import Layout, PictureSet, Selection
from deeplab.errors import InputError


def open_split(layout: Layout, split: str, train_split: str, count: int, seed: int) -> PictureSet:
    """Open all pictures of a split; `held_out` is what `seed` keeps from training, `count` pictures of `train_split`.

    Raises InputError for `held_out` if nothing is held out, and as the layout does.
    """
    if split != HELD_OUT:
        return layout.split(split)
    if not count:
        raise InputError("split held_out: nothing is held out of training; set data.hold_out to a number.")
    return share_of_train(layout, train_split, count, seed, held_out=True)


def share_of_train(layout: Layout, train_split: str, count: int, seed: int, held_out: bool) -> PictureSet:
    """Open what training sees of its split, or what is held out of it."""
    pictures = layout.split(train_split)
    held = set(hold_out(pictures.ids, count, seed))
    return Selection(pictures, [i for i, name in enumerate(pictures.ids) if (name in held) == held_out])
