"""What has to be equal on all processes of a run: code, versions, configuration."""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import deeplab

Plain = dict[str, Any]


def what_is_the_same(config: Plain) -> Plain:
    """Values by name: a hash of the package's files, versions, and each value of the configuration."""
    return {
        "code": code_hash(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "pytorch-lightning": version("pytorch-lightning"),
        **dict(_leaves(config, "")),
    }


def code_hash() -> str:
    """Of all Python files of the package, by their names and contents."""
    folder = Path(deeplab.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _leaves(node: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        return [leaf for key, value in node.items() for leaf in _leaves(value, f"{path}.{key}" if path else str(key))]
    return [(path, node)]
