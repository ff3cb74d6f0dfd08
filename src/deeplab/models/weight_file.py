"""A weight file of any known kind: what it holds, whose layout it has, which input its weights expect."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from deeplab.models.caffemodel import read_caffemodel
from deeplab.models.checkpoint_file import CHECKPOINT_KEY, damage, named_tensors, read_checkpoint
from deeplab.models.image_input import InputConvention
from deeplab.models.layout import TORCHVISION_INPUT, Layout
from deeplab.models.weight_layouts import CONVERTED, recognise
from deeplab.models.weight_values import check_values

CONVERTED_KEY = "deeplab_weights"  # where a converted file carries what its names do not tell

# Files whose names do tell what their tensors' names leave open (pytorch/vision: torchvision/models/vgg.py).
_INPUT_BY_NAME = {"vgg16-397923af.pth": TORCHVISION_INPUT}
# The authors' submission models, and what kazuto1011/deeplab-pytorch's convert.py makes of the ResNet-101 one.
_SEEN_VAL = ("train2_iter_", "deeplabv2_resnet101_msc-vocaug.pth")
SEEN_VAL = (
    "these weights were trained on VOC's val pictures too (train+val): scores on val say nothing; train_iter_20000 has "
    "not seen them"
)


@dataclass(frozen=True)
class WeightFile:
    """The tensors of a file under their own names.

    `convention` is the input that the weights expect, `stride_in_1x1` where a ResNet has its strides; both None where
    the file does not tell. `notes` are sentences for whoever loads it; `sha256` is of the file, None for one in memory.
    """

    source: str
    state: Mapping[str, Tensor]
    layout: Layout
    convention: InputConvention | None
    stride_in_1x1: bool | None
    notes: tuple[str, ...] = ()
    sha256: str | None = None


def read_weight_file(path: str | Path) -> WeightFile:
    """Read a file of torch.save or a caffemodel, whichever its content is.

    Raises ValueError for what cannot be read, is damaged or holds code, for an unknown layout, and for values that no
    trained weight has.
    """
    file = _read(path)
    check_values(file.state, file.source)
    with Path(path).open("rb") as stream:
        return replace(file, sha256=hashlib.file_digest(stream, "sha256").hexdigest())


def _read(path: str | Path) -> WeightFile:
    notes = (SEEN_VAL,) if Path(path).name.startswith(_SEEN_VAL) else ()
    if not _is_of_torch(path):
        return weight_file(read_caffemodel(path), str(path), notes=notes)
    content = read_checkpoint(path)
    fault = damage(path) if _start(path) == b"PK" else None  # torch.load does not compare the checksums
    if fault is not None:
        raise ValueError(f"{path}: the file is damaged ({fault}); fetch or write it again.")
    state = named_tensors(content, path)
    carried = content.get(CONVERTED_KEY) if isinstance(content, Mapping) else None
    if carried is not None:
        return _converted(carried, state, str(path), notes)
    convention, stride_in_1x1 = _carried_by_checkpoint(content)
    return weight_file(state, str(path), convention or _INPUT_BY_NAME.get(Path(path).name), stride_in_1x1, notes)


def weight_file(
    state: Mapping[str, Tensor],
    source: str,
    convention: InputConvention | None = None,
    stride_in_1x1: bool | None = None,
    notes: tuple[str, ...] = (),
) -> WeightFile:
    """A state dict in memory as a file; what is not given is what its layout says.

    Raises ValueError for an unknown layout.
    """
    layout = recognise(state, source)
    return WeightFile(
        source,
        state,
        layout,
        convention or layout.convention,
        layout.stride_in_1x1 if stride_in_1x1 is None else stride_in_1x1,
        notes,
    )


def _is_of_torch(path: str | Path) -> bool:
    """A zip archive or a pickle; a missing file too, so that one place complains of it."""
    try:
        start = _start(path)
    except IsADirectoryError:
        return Path(path).suffix != ".caffemodel"
    except OSError:
        return True
    return start[:1] == b"\x80" or start == b"PK" or not start


def _start(path: str | Path) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(2)


def _converted(carried: Any, state: Mapping[str, Tensor], source: str, notes: tuple[str, ...]) -> WeightFile:
    try:
        convention = None if carried["input"] is None else InputConvention(**carried["input"])
        stride_in_1x1, kept = carried["stride_in_1x1"], tuple(carried["notes"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{source}: what `deeplab weights convert` wrote beside the tensors is damaged.") from error
    return WeightFile(source, state, CONVERTED, convention, stride_in_1x1, tuple(dict.fromkeys([*kept, *notes])))


def _carried_by_checkpoint(content: Any) -> tuple[InputConvention | None, bool | None]:
    """What the configuration in a checkpoint of `deeplab train` says."""
    try:
        model = content[CHECKPOINT_KEY]["config"]["model"]
        given = model["input"]
        convention = InputConvention(
            given["channels"], float(given["scale"]), _triple(given["mean"]), _triple(given["std"])
        )
        return convention, dict(model["backbone"]).get("stride_in_1x1")
    except (KeyError, TypeError, IndexError, ValueError):
        return None, None


def _triple(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
