"""What the annotations in JSON share: reading them, and the limits of what they may say."""

import json
from pathlib import Path
from typing import Any

from deeplab.errors import InputError

_LARGEST_SIDE = 65_500
_MOST_PIXELS = 1 << 27
_LONGEST_NAME = 200  # bytes; file systems take 255, and a suffix is added


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; raises InputError for one that is missing, damaged or no JSON."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: this is no JSON that can be read, or it breaks off; get the file again.") from error


def check_size(width: int, height: int, where: str) -> None:
    """Raise InputError for sides that no picture has, before as many pixels are made."""
    if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE and width * height <= _MOST_PIXELS):
        raise InputError(f"{where}: {width}x{height} pixels, which no picture has; get the file again.")


def is_file_name(name: str) -> bool:
    """Tell whether every file system takes a name: not long, no control characters, nothing that is no text."""
    try:
        return name.isprintable() and 0 < len(name.encode()) <= _LONGEST_NAME
    except UnicodeEncodeError:
        return False
