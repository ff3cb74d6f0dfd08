"""Keep decoders from writing to the screen: what is wrong with a file is said in our one sentence."""

import ctypes
import os
import platform
import warnings

import cv2

# OpenCV's own lines; whoever sets the variable wants them.
if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# Pillow's, on metadata that does not fit and on large pictures; they come from where it decodes.
warnings.filterwarnings("ignore", module=r"PIL\.")

# libpng, libjpeg and libtiff print to the C library's `stderr`, and OpenCV offers no choice. In glibc that is a
# variable to be set (manual, section 12.2, Standard Streams); elsewhere their lines stay. What Python prints goes past
# it, and so is never lost.
_STDERR = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "stderr") if platform.libc_ver()[0] == "glibc" else None
_SCREEN = _STDERR.value if _STDERR is not None else None


def _open_nowhere() -> int | None:
    open_stream = ctypes.CDLL(None).fopen
    open_stream.restype = ctypes.c_void_p
    stream: int | None = open_stream(os.devnull.encode(), b"w")
    return stream


_NOWHERE = _open_nowhere() if _STDERR is not None else None


class SilentDecoders:
    """A context manager that drops what C libraries print in its block.

    Where two threads are in such a block at a time, the first to leave ends it for both.
    """

    def __enter__(self) -> None:
        if _STDERR is not None and _NOWHERE is not None:
            _STDERR.value = _NOWHERE

    def __exit__(self, *raised: object) -> None:
        if _STDERR is not None:
            _STDERR.value = _SCREEN
