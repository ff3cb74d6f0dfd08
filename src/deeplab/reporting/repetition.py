"""In what a run differs from the run that it repeats."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deeplab.errors import InputError
from deeplab.reporting.environment import ENVIRONMENT, PATCH, differences
from deeplab.reporting.run_files import read_json, read_run

# What names a run and is no part of what it computes.
APART = ("rerun_of", "logger", "trainer.progress_bar")
ABSENT = "absent"


def what_differs(before: Path, now: Path) -> list[str]:
    """Return a sentence for each thing in which the run in `now` differs from the recorded one in `before`.

    Looked at are commit, uncommitted changes, environment, data and configuration.

    Raises InputError if `before` holds no readable record.
    """
    old, new = read_run(before), read_run(now)
    sentences = []
    if old.get("commit") != new.get("commit"):
        sentences.append(f"The code is of another commit: {old.get('commit')} then, {new.get('commit')} now.")
    if _text(before / PATCH) != _text(now / PATCH):
        sentences.append(f"Uncommitted changes of the code differ: compare {before / PATCH} with {now / PATCH}.")
    sentences += _environment(before / ENVIRONMENT, now / ENVIRONMENT)
    for use in ("train", "val"):
        then, current = (facts.get("data", {}).get(use) for facts in (old, new))
        if then and current and then != current:
            sentences.append(
                f"The pictures of data.{use}_split or their masks are others ({then['pictures']} pictures then, "
                f"{current['pictures']} now)."
            )
    changed = [
        f"{key} {then} then, {current} now"
        for key, then, current in config_differences(old.get("config", {}), new.get("config", {}))
    ]
    return sentences + ([f"The configuration differs: {'; '.join(changed)}."] if changed else [])


def _environment(before: Path, now: Path) -> list[str]:
    if not before.is_file():
        return [f"What the run was made with is not recorded: there is no {before}."]
    changed = differences(read_json(before), read_json(now))
    return [f"The environment differs: {'; '.join(changed)}."] if changed else []


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from error


def config_differences(before: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the key, the value before and the value now of every value in which two configurations differ.

    A value that one of them lacks is "absent".
    """
    if path in APART:
        return
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *(key for key in now if key not in before)]:
            here = f"{path}.{key}" if path else str(key)
            yield from config_differences(before.get(key, ABSENT), now.get(key, ABSENT), here)
    elif before != now:
        yield path, before, now
