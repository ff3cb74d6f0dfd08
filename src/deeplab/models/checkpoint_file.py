"""Reading weight files: tensors and plain values only, never code."""

import os
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CHECKPOINT_KEY = "deeplab"  # where a checkpoint of `deeplab train` carries its configuration

# What torch.load was seen to raise on truncated files, flipped bytes, texts and pictures.
DAMAGED = (
    RuntimeError,
    EOFError,
    pickle.UnpicklingError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
)


def read_checkpoint(path: str | Path) -> Any:
    """Return what torch.save wrote, on the CPU.

    Raises ValueError for a file that is missing or not readable, damaged, not written by torch.save, or that holds
    pickled objects other than tensors and plain values (their code is never run).
    """
    try:
        with Path(path).open("rb") as file:
            if file.read(2) == b"PK":
                return torch.load(path, map_location="cpu", weights_only=True)
            # The form from before PyTorch 1.6 has no checksums; at least it has to end where its tensors do.
            file.seek(0)
            content = torch.load(file, map_location="cpu", weights_only=True)
            surplus = os.fstat(file.fileno()).st_size - file.tell()
    except IsADirectoryError as error:
        raise ValueError(f"{path}: is a folder; name a file in it, of a run checkpoints/best.ckpt.") from error
    except (*DAMAGED, OSError) as error:
        # Only opening names the file; in one that is cut off torch.load also seeks to places before its beginning.
        if isinstance(error, OSError) and error.filename is not None:
            raise ValueError(f"{path}: cannot be read ({error.strerror}); give the path of a weight file.") from error
        code = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if code:
            raise ValueError(
                f"{path}: refused, it holds pickled code ({code[1]}) beside tensors; save the state dict alone "
                "(torch.save(network.state_dict(), path))."
            ) from error
        raise ValueError(
            f"{path}: not a weight file of torch.save, or truncated or damaged; fetch or write it again."
        ) from error
    if surplus:
        raise ValueError(f"{path}: {surplus} bytes follow its tensors; the file is damaged, fetch or write it again.")
    return content


def damage(path: str | Path) -> str | None:
    """Say what is wrong with a checkpoint of `deeplab train`, or None: every record is checked by its CRC-32.

    torch.load itself does not look at the checksums that torch.save writes.
    """
    try:
        with zipfile.ZipFile(path) as records:
            broken = records.testzip()
    except (*DAMAGED, OSError, zipfile.BadZipFile, zlib.error) as error:
        return str(error) or type(error).__name__
    return None if broken is None else f"the checksum of {broken} is wrong"


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a weight file by name, also where a checkpoint wraps them as its "state_dict".

    Raises ValueError as `read_checkpoint`, and where the file holds no tensors by name.
    """
    return named_tensors(read_checkpoint(path), path)


def named_tensors(content: Any, path: str | Path) -> dict[str, Tensor]:
    """Return the tensors by name of what `read_checkpoint` returned, also below "state_dict".

    Raises ValueError where it holds none; `path` is for the message.
    """
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: holds a {type(content).__name__}, not tensors by name; give a state dict.")
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise ValueError(f"{path}: holds no tensors by name; give a state dict or a checkpoint with a state_dict.")
    return state
