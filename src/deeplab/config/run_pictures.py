"""The pictures and truth of a finished run, opened from its configuration alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deeplab.config.make import make
from deeplab.config.preflight import locate
from deeplab.data.labels import LabelRule
from deeplab.data.splits import open_split
from deeplab.errors import InputError

if TYPE_CHECKING:
    from deeplab.comparison.gallery import Samples
    from deeplab.comparison.run import Run


class RunPictures:
    """Opens what a run was scored on; `root` replaces the data.root that the run had, None keeps it."""

    def __init__(self, root: str | None) -> None:
        self.root = root

    def __call__(self, run: "Run") -> "Samples":
        """Return a function from an id to image uint8 (H, W, 3) and truth uint8 (H, W).

        Raises InputError if the data cannot be opened.
        """
        data = run.data
        layout = dict(data.get("layout") or {})
        self._check_target(layout)
        if self.root is not None and "root" in layout:
            layout["root"] = str(Path(self.root).expanduser())
        rule = LabelRule(len(run.class_names), data.get("label_map"), data.get("ignore_label", 255))
        pictures = open_split(
            make(layout, "data.layout"),
            run.split,
            data.get("train_split", "train"),
            data.get("hold_out", 0),
            data.get("hold_out_seed", 0),
        )
        places = {name: index for index, name in enumerate(pictures.ids)}

        def sample(identifier: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
            if identifier not in places:
                raise InputError(f"{identifier}: the data set on this machine has no such picture")
            index = places[identifier]
            found = pictures[index]
            return found["image"], rule(found["label"], pictures.label_source(index))

        return sample

    @staticmethod
    def _check_target(layout: dict[str, Any]) -> None:
        """Refuse to call what is no data set: a run's folder may come from anywhere."""
        target = str(layout.get("_target_", ""))
        code = locate(target) if target else InputError("its configuration names no data set.")
        if isinstance(code, Exception):
            raise InputError(f"data.layout: {code}".rstrip(".") + ".")
        if not (isinstance(code, type) and hasattr(code, "split")):
            raise InputError(f"data.layout._target_={target} is no data set.")
