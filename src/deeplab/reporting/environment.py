"""What a run ran on and in: its process, the packages, the machine, and the code as a commit and a patch."""

import os
import platform
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import deeplab

ENVIRONMENT = "environment.json"
PATCH = "code.patch"
CODE = Path(deeplab.__file__)
# What changes numbers or devices and is no part of a configuration.
VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
)


def environment() -> dict[str, Any]:
    """Return Python, the versions of all installed packages, the machine, and the variables that matter.

    What torch knows (GPUs, CUDA, threads) is asked only if it is imported already.
    """
    found = (each.metadata for each in distributions())  # asked for once each: every time it is read anew
    packages = {str(each["Name"]).lower(): str(each["Version"]) for each in found if each["Name"]}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": dict(sorted(packages.items())),
        "hardware": {"host": socket.gethostname(), "cpu": cpu_model(), "cores": usable_cores(), "memory": _memory()}
        | _torch_facts(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say in what two environments differ, as "numpy 2.4.6 then, 2.4.7 now"; the host's name does not count."""
    return [
        f"{key} {then if then is not None else 'absent'} then, {new if new is not None else 'absent'} now"
        for part in ("python", "platform", "packages", "hardware", "variables")
        for key, then, new in _pairs(part, before.get(part), now.get(part))
        if then != new and key != "host"
    ]


def _pairs(name: str, before: Any, now: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) or isinstance(now, Mapping):
        before, now = before or {}, now or {}
        return [(key, before.get(key), now.get(key)) for key in sorted({*before, *now})]
    return [(name, before, now)]


def cpu_model() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # not a POSIX system
        return None


def _torch_facts() -> dict[str, Any]:
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    facts: dict[str, Any] = {"threads": torch.get_num_threads(), "gpus": [], "cuda": None, "cudnn": None}
    if torch.cuda.is_available():
        facts["gpus"] = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        facts["cuda"], facts["cudnn"] = torch.version.cuda, torch.backends.cudnn.version()
    return facts


def code_patch() -> str | None:
    """Return how the code differs from its commit, new files of `src` and `conf` included, as `git apply` takes it.

    Empty if it does not differ; None if the code does not run from a git checkout.
    """
    here = CODE.resolve()
    top = git(here.parent, "rev-parse", "--show-toplevel")
    # Tracked, so that an installation inside somebody else's repository does not pass off that one's changes as ours.
    if top is None or git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    root = Path(top.strip())
    index = git(root, "rev-parse", "--path-format=absolute", "--git-path", "index")
    with tempfile.TemporaryDirectory() as folder:
        # Another index than the user's, in which new files are announced, so that the difference shows them too.
        other = Path(folder, "index")
        if index is not None and Path(index.strip()).is_file():
            other.write_bytes(Path(index.strip()).read_bytes())
        parts = [name for name in ("src", "conf") if (root / name).is_dir()]
        git(root, "add", "--intent-to-add", "--", *parts, index=other)
        return git(root, "diff", "--binary", "HEAD", index=other)


def git(folder: Path, *arguments: str, index: Path | None = None) -> str | None:
    """Return what git prints, or None where it fails or is not there."""
    variables = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"} | ({} if index is None else {"GIT_INDEX_FILE": str(index)})
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
            env=variables,
        )
    except FileNotFoundError:  # no git on this machine
        return None
    return result.stdout if result.returncode == 0 else None
