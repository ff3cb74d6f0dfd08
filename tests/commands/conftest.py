"""The real entry points, run in this process as the shell would run them, and a tiny trained network."""

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton

TINY = (
    "model.backbone.width=0.25",
    "data.layout.sizes={train:8,val:2,test:3}",
    "data.layout.height=40",
    "data.layout.width=48",
    "data.crop_size=33",
    "data.num_workers=0",
    "optim.max_steps=2",
    "optim.global_batch_size=4",
    "trainer.progress_bar=false",
    "crf.iterations=2",
    "crf.workers=1",
)


@dataclass(frozen=True)
class Result:
    """How a command ended; `folder` is where it was called, `crashed` whether a traceback reached the user."""

    code: int
    out: str
    err: str
    folder: Path
    crashed: bool

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


Run = Callable[..., Result]


def run_in(folder: Path, command: str, *arguments: str) -> Result:
    """`deeplab COMMAND ARGUMENTS...` called in `folder`, without a new process."""
    out, err, crashed, code = StringIO(), StringIO(), False, 0
    handlers, level, argv, here = logging.root.handlers[:], logging.root.level, sys.argv, Path.cwd()
    singletons = Singleton.get_state()
    environment = dict(os.environ)
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        os.chdir(folder)
        sys.argv = [f"deeplab {command}", *arguments]
        try:
            importlib.import_module(f"deeplab.{command}").main()
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
        except BaseException:
            code, crashed = 1, True
            traceback.print_exc(file=err)
        finally:
            os.chdir(here)
            sys.argv = argv
            for handler in logging.root.handlers:
                if handler not in handlers:
                    handler.close()
            logging.root.handlers[:] = handlers
            logging.root.setLevel(level)
            GlobalHydra.instance().clear()
            Singleton.set_state(singletons)
            os.environ.clear()
            os.environ.update(environment)
    return Result(code, out.getvalue(), err.getvalue(), folder, crashed)
