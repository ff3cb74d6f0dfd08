"""The layout of the PASCAL VOC devkit."""

from collections.abc import Sequence
from pathlib import Path

from deeplab.data.lists import ListEntry, is_list_file, read_list, without_suffix
from deeplab.data.samples import FilePictures
from deeplab.errors import InputError

LIST_FOLDERS = ("ImageSets/Segmentation", "ImageSets/SegmentationAug")


class VOC:
    """PASCAL VOC as the devkit unpacks it: `root` is the VOCdevkit folder, which holds `VOC<year>`.

    A list of ids takes each mask from the first of the `masks` folders that has it: SegmentationClass has the original
    annotations with their void outlines, SegmentationClassAug adds those of SBD, which have none. A list of pairs
    (`/JPEGImages/x.jpg /SegmentationClassAug/x.png`) is taken as it is written.

    Scoring against SegmentationClassAug costs five to six points of mIoU, for its masks lack void (kazuto1011/
    deeplab-pytorch, issue 72); so it comes second.

    PASCAL-Context is laid out the same way: `year` 2010, its own folder of masks and its own folder of `lists`.

    Raises InputError for a root without the data set, and from `split` for lists and files that are missing.
    """

    def __init__(
        self,
        root: Path | str,
        year: int | str = 2012,
        masks: Sequence[str] = ("SegmentationClass", "SegmentationClassAug"),
        lists: Sequence[str] = LIST_FOLDERS,
    ) -> None:
        self._folder = Path(root).expanduser() / f"VOC{year}"
        if not (self._folder / "JPEGImages").is_dir():
            raise InputError(
                f"{self._folder / 'JPEGImages'}: there is no such folder; set data.root to the VOCdevkit folder, "
                f"the one that holds VOC{year}."
            )
        self._mask_folders = [masks] if isinstance(masks, str) else list(masks)
        self._list_folders = [self._folder / each for each in ([lists] if isinstance(lists, str) else lists)]

    def split(self, name: str) -> FilePictures:
        """Open a split: the name of a list in ImageSets (train, val, trainval, train_aug), or the path of a list."""
        return self._open(name, must_exist=True)

    def files(self, name: str) -> FilePictures:
        """Name all files of a split without looking whether they are there."""
        return self._open(name, must_exist=False)

    def _open(self, name: str, must_exist: bool) -> FilePictures:
        entries = read_list(self._list(name))
        pairs = [self._pair(entry, must_exist) for entry in entries]
        return FilePictures(
            [_id(entry) for entry in entries], [image for image, _ in pairs], [mask for _, mask in pairs]
        )

    def _list(self, split: str) -> Path:
        if is_list_file(split):
            return Path(split).expanduser()
        for folder in self._list_folders:
            if (folder / f"{split}.txt").is_file():
                return folder / f"{split}.txt"
        known = sorted({path.stem for folder in self._list_folders if folder.is_dir() for path in folder.glob("*.txt")})
        others = "".join(f", nor in {folder}" for folder in self._list_folders[1:])
        raise InputError(
            f"{self._list_folders[0] / split}.txt: there is no such list{others}; choose one of {known} or give the "
            "path of a .txt file as the split."
        )

    def _pair(self, entry: ListEntry, must_exist: bool) -> tuple[Path, Path]:
        images, masks = [f"JPEGImages/{_id(entry)}.jpg"], [f"{each}/{_id(entry)}.png" for each in self._mask_folders]
        if entry.mask is not None:
            images, masks = [entry.picture], [entry.mask]
        return self._find(entry, images, must_exist), self._find(entry, masks, must_exist)

    def _find(self, entry: ListEntry, candidates: Sequence[str], must_exist: bool) -> Path:
        for candidate in candidates:
            if (self._folder / candidate).is_file():
                return self._folder / candidate
        if not must_exist:
            return self._folder / candidates[0]
        names = " nor ".join(str(self._folder / candidate) for candidate in candidates)
        raise InputError(f"{entry.where}: there is no file {names}; add it or remove the line.")


def _id(entry: ListEntry) -> str:
    name = without_suffix(entry.picture)
    if entry.mask is None:
        return name.removeprefix("JPEGImages/")
    return name.partition("/")[2] or name
