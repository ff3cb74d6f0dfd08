from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.profilers import SimpleProfiler

from deeplab.config.build import build_trainer
from deeplab.training.no_profiler import NoProfiler


def built(folder: Path, **options: Any) -> pl.Trainer:
    settings = {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto", "precision": "32-true"}
    settings |= {"deterministic": True, "num_threads": None, "val_every_n_steps": None, "log_every_n_steps": 10}
    return build_trainer({**settings, "options": options}, [], False, folder)


def test_hooks_are_timed_where_that_is_asked_for_alone(tmp_path: Path) -> None:
    assert isinstance(built(tmp_path).profiler, NoProfiler)
    assert isinstance(built(tmp_path, profiler="simple").profiler, SimpleProfiler)


def test_an_error_in_a_hook_comes_through() -> None:
    with pytest.raises(ValueError, match="hook"), NoProfiler().profile("a"), NoProfiler().profile("b"):
        raise ValueError("hook")
