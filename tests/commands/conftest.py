"""The real entry points, run in this process as the shell would run them, and a tiny network trained by them."""

import importlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import numpy as np
import pytest
import torch
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from omegaconf.basecontainer import BaseContainer
from PIL import Image

from deeplab.cli import MODULES

CLASSES = ("ground", "grass", "sky")
COLOURS = np.array([[150, 60, 40], [40, 160, 60], [60, 80, 200]], dtype=np.float64)

# A small network, no worker processes, no CRF.
TINY = (
    "model/backbone=resnet18",
    "model.backbone.width=0.125",
    "model/head=classifier",
    "model/input=imagenet_rgb",
    "data.crop_size=33",
    "data.num_workers=0",
    "optim.max_steps=2",
    "optim.global_batch_size=4",
    "optim.loss_group=4",
    "trainer.progress_bar=false",
    "crf=none",
)
SCENES = (*TINY, "data.layout.sizes={train:8,val:2,test:3}", "data.layout.height=40", "data.layout.width=48")


def folder_data(root: Path) -> tuple[str, ...]:
    """Overrides for a folder drawn by `draw_data`."""
    names = ",".join(CLASSES)
    return (*TINY, "data=folder", f"data.root={root}", f"data.class_names=[{names}]", "data.layout.splits=folders")


def draw_data(root: Path, train: int = 4, val: int = 2, height: int = 40, width: int = 48) -> Path:
    """Pictures of flat colours with noise, one colour a class: root/images/{train,val}, root/masks/{train,val}."""
    for split, count in (("train", train), ("val", val)):
        for folder in ("images", "masks"):
            (root / folder / split).mkdir(parents=True)
        for number in range(count):
            draw = np.random.default_rng([split == "val", number])
            label = np.zeros((height, width), dtype=np.uint8)
            label[: height // 2, : draw.integers(width // 3, width)] = 2
            label[draw.integers(height // 2, height) :, width // 4 :] = 1
            image = np.clip(COLOURS[label] + draw.normal(0, 20, (height, width, 3)), 0, 255).astype(np.uint8)
            label[height // 2, :5] = 255
            Image.fromarray(image).save(root / "images" / split / f"{number}.jpg", quality=95)
            Image.fromarray(label).save(root / "masks" / split / f"{number}.png")
    return root


@dataclass(frozen=True)
class Result:
    """How a command ended; `folder` is where it was called, `crashed` whether an exception reached the user."""

    code: int
    out: str
    err: str
    folder: Path
    crashed: bool = False

    def refused(self, *parts: str, code: int = 2) -> str:
        """Check that the command ended with one sentence on stderr that has all `parts`; return the sentence."""
        assert not self.crashed, self.err
        assert self.code == code, (self.code, self.err)
        assert "Traceback" not in self.err + self.out
        sentences = [line for line in self.err.splitlines() if line.startswith("deeplab ")]
        assert len(sentences) == 1, self.err
        missing = [part for part in parts if part not in sentences[0]]
        assert not missing, f"{missing} not in: {sentences[0]}"
        return sentences[0]

    def worked(self) -> "Result":
        """Check that the command ended well."""
        assert self.code == 0, self.err
        return self

    def written(self) -> set[str]:
        """All files below the folder but logs, the copy of the configuration, and what a run notes of itself first."""
        files = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        return {
            path.as_posix()
            for path in files
            if path.suffix != ".log"
            and ".hydra" not in path.parts
            and path.name not in ("run.json", "environment.json", "code.patch")
        }


def call(folder: Path, command: str, *arguments: str) -> Result:
    """`deeplab COMMAND ARGUMENTS...` called in `folder`, without a new process."""
    out, err, crashed, code = StringIO(), StringIO(), False, 0
    with _as_before(), _mode_not_asked(), redirect_stdout(out), redirect_stderr(err):
        os.chdir(folder)
        sys.argv = [f"deeplab {command}", *arguments]
        try:
            importlib.import_module(f"deeplab.{MODULES.get(command, command)}").main()
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
        except Exception:
            code, crashed = 1, True
            traceback.print_exc(file=err)
    return Result(code, out.getvalue(), err.getvalue(), folder, crashed)


@contextmanager
def _mode_not_asked() -> Iterator[None]:
    """Spare Hydra from composing everything twice, the first time for `hydra.mode` alone, which nothing here sets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hydra, "get_mode", lambda *_, **__: None)
        yield


@contextmanager
def _as_before() -> Iterator[None]:
    """Put back what a command, which expects a process of its own, leaves changed."""
    argv, here, environment = sys.argv, Path.cwd(), dict(os.environ)
    handlers, level = logging.root.handlers[:], logging.root.level
    resolvers = dict(BaseContainer._resolvers)
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(torch.random.fork_rng(devices=[]))
        try:
            yield
        finally:
            sys.argv = argv
            os.chdir(here)
            os.environ.clear()
            os.environ.update(environment)
            for handler in set(logging.root.handlers) - set(handlers):
                handler.close()
            logging.root.handlers[:] = handlers
            logging.root.setLevel(level)
            GlobalHydra.instance().clear()
            # The plugins that were found stay: finding them again takes a tenth of a second.
            for of_one_run in (HydraConfig, JobRuntime):
                Singleton._instances.pop(of_one_run, None)
            BaseContainer._resolvers = resolvers
            torch.use_deterministic_algorithms(deterministic)
            torch.set_num_threads(threads)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    """run(command, *arguments): call an entry point in tmp_path."""

    def here(command: str, *arguments: str) -> Result:
        return call(tmp_path, command, *arguments)

    return here


@pytest.fixture
def scenes() -> tuple[str, ...]:
    """Overrides for a training of two steps on generated scenes, which takes half a second."""
    return SCENES


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small data set of one's own in tmp_path/data."""
    return draw_data(tmp_path / "data")


@pytest.fixture
def own_data(data: Path) -> tuple[str, ...]:
    """Overrides for a training of two steps on `data`."""
    return folder_data(data)


@dataclass(frozen=True)
class Trained:
    """A finished run, its checkpoint and the data that it was trained on."""

    folder: Path
    data: Path
    result: Result

    @property
    def checkpoint(self) -> str:
        return str(self.folder / "checkpoints" / "last.ckpt")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A network that tells the three colours apart, trained, validated and scored with the CRF."""
    here = tmp_path_factory.mktemp("trained")
    root = draw_data(here / "data", train=4, val=3)
    optim = ("optim=adamw_poly", "optim.lr=1e-2", "optim.max_steps=24")
    crf = ("crf=default", "crf.workers=1", "crf.bilateral_rgb_std=20", "crf.iterations=3")
    rest = ("trainer.val_every_n_steps=12", "evaluate=last", "hydra.run.dir=run")
    result = call(here, "train", *folder_data(root), *optim, *crf, *rest)
    assert result.code == 0, result.err
    return Trained(here / "run", root, result)


@pytest.fixture(scope="session")
def checkpoint(trained: Trained) -> str:
    """The checkpoint of the trained network."""
    return trained.checkpoint


@pytest.fixture
def draw_photo() -> Callable[..., Path]:
    """draw_photo(path, height=24, width=31, mode="RGB", **options): a photo file in the format of its suffix."""

    def draw(path: Path, height: int = 24, width: int = 31, mode: str = "RGB", **options: object) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path, **options)
        return path

    return draw
