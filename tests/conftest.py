"""In what order files are run, and when Python looks for garbage."""

import atexit
import gc

import pytest

# Modules are imported while tests are collected, and all they bring stays: looking for garbage among it, then and later
# and at the exit, took a tenth of the tests' processor time.
gc.disable()
atexit.register(gc.freeze)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, or one process is left with the longest of them when the others have finished."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Look for garbage again, but not among what was imported."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000)
