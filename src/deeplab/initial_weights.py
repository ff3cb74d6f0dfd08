"""Published initial weights by name: where they are offered, and where they lie once they are here."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeplab.errors import InputError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """A file for one backbone. The eight digits in its name are the beginning of its sha256, as torch.hub has it."""

    url: str
    is_from: str
    """The public file that names the address."""

    @property
    def file(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def checksum(self) -> str:
        return f"sha256:{Path(self.file).stem.rpartition('-')[2]}"


def _torchvision(file: str, module: str) -> Published:
    return Published(f"https://download.pytorch.org/models/{file}", f"pytorch/vision: torchvision/models/{module}.py")


# By init.name, then by backbone. ResNet-101's are the authors' Caffe weights (BGR, strides in the 1x1 convolutions), as
# two projects offer them for PyTorch; torchvision's serve the depths that the authors did not release.
PUBLISHED: dict[str, dict[str, Published]] = {
    "imagenet": {
        "VGG16": _torchvision("vgg16-397923af.pth", "vgg"),
        "ResNet18": _torchvision("resnet18-f37072fd.pth", "resnet"),
        "ResNet34": _torchvision("resnet34-b627a593.pth", "resnet"),
        "ResNet50": _torchvision("resnet50-0676ba61.pth", "resnet"),
        "ResNet101": Published(
            "http://vllab.ucmerced.edu/ytsai/CVPR18/DeepLab_resnet_pretrained_init-f81d91e8.pth",
            "wasidennis/AdaptSegNet: train_gta2cityscapes_multi.py",
        ),
        "ResNet152": _torchvision("resnet152-394f9c45.pth", "resnet"),
        "MobileNetV2": _torchvision("mobilenet_v2-b0353104.pth", "mobilenetv2"),
    },
    "coco": {
        "ResNet101": Published(
            "http://vllab1.ucmerced.edu/~whung/adv-semi-seg/resnet101COCO-41f33a49.pth", "hfslyc/AdvSemiSeg: train.py"
        ),
    },
}


def place_initial_weights(config: dict[str, Any]) -> None:
    """Set `init.path` to the file that `init.name` stands for, after downloading it if need be.

    A path that is given stays, and is checked if its name is that of a published file. Raises InputError for a name
    that is not known for the backbone, a file with another checksum, or one that cannot be had; it says then which file
    to place where.
    """
    init = config["init"]
    if init["path"] is not None:
        check_published(Path(init["path"]).expanduser())
        return
    if init["name"] is None:
        return
    published = _published(init["name"], config["model"]["backbone"])
    place = _folder(init["folder"]) / published.file
    if place.is_file():
        _check(place, published)
    elif init["download"]:
        _download(place, published)
    else:
        raise InputError(
            f"init={init['name']}: {place} is not there; get {published.url} and place it there, or let "
            "init.download=true."
        )
    init["path"] = str(place)


def check_published(path: Path) -> None:
    """Compare a file that has the name of a published one with its checksum; raises InputError if it is another."""
    for published in (each for group in PUBLISHED.values() for each in group.values()):
        if path.name == published.file and path.is_file():
            _check(path, published)


def _published(name: str, backbone: dict[str, Any]) -> Published:
    if name not in PUBLISHED:
        raise InputError(f"init.name={name}: choose one of {', '.join(PUBLISHED)}, or give a file as init.path.")
    kind = backbone["_target_"].rpartition(".")[2]
    key = f"{kind}{backbone['depth']}" if kind == "ResNet" else kind
    if key not in PUBLISHED[name] or backbone.get("width", 1.0) != 1.0:
        raise InputError(
            f"init={name}: no published weights are known for {key}, but for {', '.join(PUBLISHED[name])}; give a file "
            "as init.path."
        )
    return PUBLISHED[name][key]


def _folder(given: str | None) -> Path:
    if given is not None:
        return Path(given).expanduser()
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"  # where torch keeps its own


def _check(place: Path, published: Published) -> None:
    from deeplab.preparation.checksums import matches

    if not matches(place, published.checksum):
        raise InputError(f"{place}: its sha256 does not begin with {published.checksum[7:]}; delete it, get it again.")


def _download(place: Path, published: Published) -> None:
    try:
        from deeplab.preparation.download import download
    except ModuleNotFoundError as error:
        raise InputError(
            f"{place} is not there, and to download it the package {error.name} is missing: get {published.url} and "
            "place it there, or pip install -c constraints.txt '.[data]'."
        ) from error
    with _alone(place):
        if place.is_file():  # another process was faster
            _check(place, published)
            return
        log.info("Downloading %s (address from %s) to %s", published.url, published.is_from, place)
        download(published.url, place, published.checksum)


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Keep other processes from downloading the same file; the lock's file stays, or two could hold one lock each."""
    from filelock import FileLock, Timeout

    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place.with_name(f".{place.name}.lock"))
        try:
            lock.acquire(blocking=False)
        except Timeout:
            log.info("Another process downloads %s; waiting for it", place)
            lock.acquire()
    except OSError as error:
        raise InputError(f"Cannot write {place}: {error.strerror or error}; set init.folder.") from error
    try:
        yield
    finally:
        lock.release()
