#!/bin/sh
# Builds the C++ backend under AddressSanitizer and UBSan beside the normal one, and runs its tests:
#     tests/crf/sanitize.sh PYTHON
# PYTHON needs setuptools, pybind11, numpy, pytest and hypothesis. The normal build is left alone.
set -e
python=$(command -v "${1:-python}")
case $python in /*) ;; *) python=$PWD/$python ;; esac  # some shells leave a relative path as it is
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$root/src" "$root/setup.py" "$root/pyproject.toml" "$root/LICENSE" "$work/"
touch "$work/README.md"
rm -f "$work"/src/deeplab/crf/_native*.so
cd "$work"
CRF_SANITIZE=1 "$python" setup.py -q build_ext --inplace
# Python's own allocations at exit are no leaks of ours; the sanitizer's library must be loaded first.
ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 OMP_NUM_THREADS=1 PYTHONPATH="$work/src" \
    LD_PRELOAD="$(${CXX:-g++} -print-file-name=libasan.so) $(${CXX:-g++} -print-file-name=libubsan.so)" \
    "$python" -m pytest "$root/tests/crf/test_native.py" "$root/tests/crf/test_native_processes.py" -q -p no:cacheprovider
