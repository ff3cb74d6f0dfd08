"""Any folder of pictures with a folder of masks: a user's own data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from deeplab.data.lists import ListEntry, hold_out, is_list_file, read_list, without_suffix
from deeplab.data.reading import PICTURE_SUFFIXES
from deeplab.data.samples import FilePictures, another_suffix
from deeplab.errors import InputError


class ImageMaskFolder:
    """Pictures under `root/images` and masks at the same relative paths under `root/masks`, sub-folders included.

    Names: a picture is `<name><image_suffix>` and its mask `<name><mask_suffix>`; with image_suffix null every
    picture format counts. So Cityscapes is image_suffix=_leftImg8bit.png, mask_suffix=_gtFine_labelTrainIds.png.

    Splits, by `splits`:
    - `share`: a random `val_share` of the pictures is `val`, the rest `train`, both are `all`; the draw depends on
      the names and `split_seed` only;
    - `folders`: split x is the sub-folder x of both `images` and `masks`;
    - `lists`: split x is the file `root/<lists>/x.txt`, one name a line (relative to `images`, with or without its
      suffix), or a picture and a mask path relative to root.
    In all three, a path ending in .txt is a list of the user's own.

    Raises InputError for folders that are missing or hold no picture, and from `split` for a picture without mask, a
    line without file and two pictures of one name.
    """

    def __init__(
        self,
        root: Path | str,
        images: str = "images",
        masks: str = "masks",
        image_suffix: str | None = None,
        mask_suffix: str = ".png",
        splits: Literal["share", "folders", "lists"] = "share",
        val_share: float = 0.2,
        split_seed: int = 0,
        lists: str = "",
    ) -> None:
        self._root = Path(root).expanduser()
        self._images = self._root / images
        self._masks = self._root / masks
        for key, folder in (("images", self._images), ("masks", self._masks)):
            if not folder.is_dir():
                raise InputError(f"{folder}: there is no such folder; set data.root and data.layout.{key}.")
        if splits not in ("share", "folders", "lists"):
            raise InputError(f"data.layout.splits={splits}: choose share, folders or lists.")
        if not 0 < val_share < 1:
            raise InputError(f"data.layout.val_share={val_share}: choose a share between 0 and 1, such as 0.2.")
        if split_seed < 0:
            raise InputError(f"data.layout.split_seed={split_seed}: it must be at least 0.")
        self._image_suffix = image_suffix
        self._mask_suffix = mask_suffix
        self._splits = splits
        self._val_share = val_share
        self._split_seed = split_seed
        self._lists = self._root / lists

    def split(self, name: str) -> FilePictures:
        """Open a split by its name, or by the path of a list of pictures."""
        return self._open(name, must_exist=True)

    def files(self, name: str) -> FilePictures:
        """Name all files of a split without looking whether they are there."""
        return self._open(name, must_exist=False)

    def _open(self, name: str, must_exist: bool) -> FilePictures:
        if is_list_file(name):
            return self._listed(Path(name).expanduser(), must_exist)
        if self._splits == "lists":
            return self._listed(self._lists / f"{name}.txt", must_exist)
        if self._splits == "folders":
            if not (self._images / name).is_dir():
                known = sorted(folder.name for folder in self._images.iterdir() if folder.is_dir())
                raise InputError(f"{self._images / name}: there is no such folder; choose a split of {known}.")
            return self._pictures(self._find(self._images / name), must_exist)
        return self._pictures(self._share(name), must_exist)

    def _share(self, name: str) -> dict[str, Path]:
        found = self._find(self._images)
        if name == "all":
            return found
        if name not in ("train", "val"):
            raise InputError(f"split {name}: with data.layout.splits=share the splits are train, val and all.")
        if len(found) < 2:
            raise InputError(f"{self._images}: one picture cannot be shared between train and val; add pictures.")
        count = min(max(1, round(self._val_share * len(found))), len(found) - 1)
        held = set(hold_out(list(found), count, self._split_seed))
        return {key: path for key, path in found.items() if (key in held) == (name == "val")}

    def _find(self, folder: Path) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in sorted(folder.rglob("*")):
            name = self._name(path.relative_to(self._images).as_posix())
            # Archives made on macOS carry a hidden ._x.jpg beside each x.jpg.
            if name is None or path.name.startswith(".") or not path.is_file():
                continue
            if name in found:
                raise InputError(f"{path}: {found[name]} has the same name and so the same mask; rename one of them.")
            found[name] = path
        if not found:
            wanted = self._image_suffix or ", ".join(PICTURE_SUFFIXES)
            raise InputError(f"{folder}: there is no picture in it (looked for *{wanted}); check data.layout.")
        return found

    def _name(self, path: str) -> str | None:
        """Return a path below `images` without its suffix, or None for what is no picture."""
        if self._image_suffix is not None:
            return path[: -len(self._image_suffix)] if path.endswith(self._image_suffix) else None
        name = without_suffix(path)
        return name if name != path else None

    def _pictures(self, found: dict[str, Path], must_exist: bool) -> FilePictures:
        masks = [self._mask(name) for name in found]
        missing = [(image, mask) for image, mask in zip(found.values(), masks, strict=True) if not mask.is_file()]
        if missing and must_exist:
            image, mask = missing[0]
            other = another_suffix(mask, image)
            raise InputError(
                f"{mask}: there is no such mask for {image} ({len(missing)} of {len(masks)} masks are missing); "
                f"{'' if other is None else f'there is {other.name}: '}add it or check data.layout.mask_suffix."
            )
        return FilePictures(list(found), list(found.values()), masks)

    def _mask(self, name: str) -> Path:
        return self._masks / f"{name}{self._mask_suffix}"

    def _listed(self, path: Path, must_exist: bool) -> FilePictures:
        entries = read_list(path)
        pairs = [self._pair(entry, must_exist) for entry in entries]
        ids = [self._name(entry.picture) or entry.picture for entry in entries]
        return FilePictures(ids, [image for image, _ in pairs], [mask for _, mask in pairs])

    def _pair(self, entry: ListEntry, must_exist: bool) -> tuple[Path, Path]:
        images, mask = self._candidates(entry)
        return _find(entry, images, must_exist), _find(entry, [mask], must_exist)

    def _candidates(self, entry: ListEntry) -> tuple[list[Path], Path]:
        if entry.mask is not None:
            return [self._root / entry.picture], self._root / entry.mask
        name = self._name(entry.picture)
        if name is not None:
            return [self._images / entry.picture], self._mask(name)
        suffixes = PICTURE_SUFFIXES if self._image_suffix is None else (self._image_suffix,)
        spellings = [spelling for suffix in suffixes for spelling in dict.fromkeys((suffix, suffix.upper()))]
        return [self._images / f"{entry.picture}{spelling}" for spelling in spellings], self._mask(entry.picture)


def _find(entry: ListEntry, candidates: Sequence[Path], must_exist: bool) -> Path:
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    if not must_exist:
        return candidates[0]
    others = " (nor with another suffix of pictures)" if len(candidates) > 1 else ""
    raise InputError(f"{entry.where}: there is no file {candidates[0]}{others}; add it or remove the line.")
