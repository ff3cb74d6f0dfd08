"""The C++ extension; all else is in pyproject.toml. Without a compiler the install succeeds and leaves it out."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext

SOURCES = Path("src/deeplab/crf/native_src")

ParallelCompile("CRF_BUILD_JOBS").install()  # on all cores, or as many as the variable says


class BuildExt(build_ext):
    def build_extensions(self) -> None:
        flags = ["-O3", "-ffp-contract=off", "-pthread", "-Wall"]
        # Vectors are passed between always-inlined functions only; the warning is about calls that do not exist.
        flags += ["-Wno-psabi"]
        link = ["-pthread"]
        if platform.machine().lower() in ("x86_64", "amd64"):
            flags.append("-DCRF_HAVE_AVX2")
        if os.environ.get("CRF_SANITIZE"):
            flags += ["-DCRF_SANITIZE", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g", "-O1"]
            link += ["-fsanitize=address,undefined"]
        for extension in self.extensions:
            extension.extra_compile_args += flags
            extension.extra_link_args += link
        super().build_extensions()

    def run(self) -> None:
        super().run()
        built = [Path(self.get_ext_fullpath(extension.name)) for extension in self.extensions]
        if not all(path.exists() for path in built):
            print("deeplab: no C++ compiler worked, so the CRF's native backend is left out;", file=sys.stderr)
            print("deeplab: the CRF falls back to pydensecrf or torch, several times slower", file=sys.stderr)


setup(
    ext_modules=[
        Pybind11Extension(
            "deeplab.crf._native",
            sorted(str(path) for path in SOURCES.glob("*.cpp")),
            depends=sorted(str(path) for pattern in ("*.hpp", "*.inc") for path in SOURCES.glob(pattern)),
            cxx_std=17,
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildExt},
)
