"""Annotations in the formats of their owners, a root to prepare them in, and a web server with bad manners."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from scipy.io import savemat

from deeplab.data.palette import voc_palette
from deeplab.preparation.masks import MaskWriter
from deeplab.preparation.obtaining import Obtaining
from deeplab.preparation.recipe import Kitchen


@pytest.fixture
def quiet() -> Console:
    return Console(file=StringIO())


@pytest.fixture
def kitchen(quiet: Console) -> Callable[..., Kitchen]:
    """kitchen(root, archives=(), overwrite=False, **options of Obtaining): downloads only if asked to."""

    def make(root: Path, archives: tuple[Path, ...] = (), overwrite: bool = False, **options: Any) -> Kitchen:
        obtain = Obtaining(root, archives, **{"may_download": False, "console": quiet, **options})
        return Kitchen(root, obtain, MaskWriter(voc_palette(), overwrite, 1, quiet))

    return make


def _save_v5(path: Path, variables: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, variables, do_compression=True)


def _save_v73(path: Path, variables: dict[str, Any]) -> None:
    """As MATLAB's `save -v7.3` does it: HDF5 behind a header of 512 bytes, transposed, structs as groups."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        references = file.create_group("#refs#")
        for name, value in variables.items():
            _put(file, name, value, references)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def _put(group: h5py.Group, name: str, value: Any, references: h5py.Group) -> None:
    if isinstance(value, dict):
        struct = group.create_group(name)
        struct.attrs["MATLAB_class"] = np.bytes_("struct")
        for key, each in value.items():
            _put(struct, key, each, references)
    elif isinstance(value, np.ndarray) and value.dtype == object:  # an array of structs
        struct = group.create_group(name)
        struct.attrs["MATLAB_class"] = np.bytes_("struct")
        for key in value.ravel()[0]:
            column = struct.create_dataset(key, (value.size, 1), dtype=h5py.ref_dtype)
            for row, each in enumerate(value.ravel()):
                place = f"{len(references)}"
                _put(references, place, each[key], references)
                column[row, 0] = references[place].ref
    elif isinstance(value, str):
        text = group.create_dataset(name, data=np.array([[ord(each)] for each in value], dtype=np.uint16))
        text.attrs["MATLAB_class"] = np.bytes_("char")
    else:
        numbers = group.create_dataset(name, data=np.asarray(value).T)
        numbers.attrs["MATLAB_class"] = np.bytes_(str(np.asarray(value).dtype))


SAVERS: dict[str, Callable[[Path, dict[str, Any]], None]] = {"v5": _save_v5, "v7.3": _save_v73}


@pytest.fixture(params=sorted(SAVERS))
def save_mat(request: pytest.FixtureRequest) -> Callable[[Path, dict[str, Any]], None]:
    """save_mat(path, variables), once in each format."""
    return SAVERS[request.param]


@pytest.fixture
def save_v5() -> Callable[[Path, dict[str, Any]], None]:
    return _save_v5


@pytest.fixture
def saver_v73() -> Callable[[Path, dict[str, Any]], None]:
    return _save_v73


@pytest.fixture
def save_png() -> Callable[..., None]:
    """save_png(path, labels, palette=True): labels as a palette or grey PNG."""

    def save(path: Path, labels: np.ndarray, palette: bool = True) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(labels.astype(np.uint8))
        if palette:
            image.putpalette(voc_palette().tobytes())
        image.save(path)

    return save


@dataclass
class Shop:
    """What the server offers, how it behaves, and what was asked of it."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    break_after: list[int] = field(default_factory=list)
    """Bytes after which the next answers break off, one entry an answer."""
    ranges: bool = True
    status: list[int] = field(default_factory=list)
    kind: str = "application/octet-stream"
    etag: str = '"one"'
    asked: list[str | None] = field(default_factory=list)
    """The Range of every request."""


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A server on a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            here.asked.append(wanted)
            content = here.files.get(self.path.lstrip("/"))
            if here.status or content is None:
                self.send_error(here.status.pop(0) if here.status else 404)
                return
            start = 0
            if wanted and here.ranges and self.headers.get("If-Range") == here.etag:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Type", here.kind)
            self.send_header("ETag", here.etag)
            self.send_header("Content-Length", str(len(content) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            body = content[start:]
            if here.break_after:
                body = body[: here.break_after.pop(0)]
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = Shop(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield here
    server.shutdown()
    thread.join()
    server.server_close()
