"""From the label maps of `deeplab predict` to the archive of a test server."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from deeplab.data.palette import voc_palette
from deeplab.data.reading import read_mask
from deeplab.errors import InputError
from deeplab.reporting.predictions import label_image
from deeplab.submission.archives import Entry, write_archive
from deeplab.submission.formats import ServerFormat
from deeplab.submission.validate import Expected, Sizes, validate


def export(
    server: ServerFormat, predictions: Mapping[str, Path], sizes: Sizes, folder: Path, console: Console | None = None
) -> Path:
    """Pack label maps, by the ids of their pictures, into `folder`/NAME.tgz or .zip and validate the archive.

    Cityscapes' train ids become original ids. Raises InputError if the archive cannot be written or is refused; then it
    is removed.
    """
    archive = folder / f"{server.name}_results.{server.container}"
    write_archive(archive, server.container, _entries(server, predictions))
    problems = validate(archive, server, Expected(len(predictions), frozenset(predictions), sizes), console)
    if problems:
        archive.unlink()
        raise InputError(f"export={server.name}: the server would refuse the archive: {problems[0]}")
    return archive


def _entries(server: ServerFormat, predictions: Mapping[str, Path]) -> Iterator[Entry]:
    for name in sorted(predictions):
        labels = read_mask(predictions[name])
        if labels.max() >= len(server.values):
            raise InputError(f"{predictions[name]}: label {labels.max()} is no class of {server.name}.")
        values = server.values[labels]
        picture = (
            label_image(values, voc_palette()) if server.indexed else Image.fromarray(np.ascontiguousarray(values))
        )
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        yield server.entry.format(id=name), buffer.getvalue()
