#!/usr/bin/env bash
# Run the tests of the C++ core under AddressSanitizer and UBSan; takes minutes. Needs scripts/setup.sh dev.
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/sanitize
site=$build/site
.venv/bin/python -m pip install --quiet --disable-pip-version-check nanobind ninja cmake
mkdir -p "$site/snaprun"
cp -r snaprun conf tests pyproject.toml "$site/"
rm -f "$site"/snaprun/_native*.so
.venv/bin/cmake -S "$site/snaprun/native" -B "$build/cmake" -G Ninja -DSNAPRUN_IN_PLACE=ON \
    -DSNAPRUN_SANITIZE=address,undefined -DLEVELS="portable;v3" \
    -DPython_EXECUTABLE="$PWD/.venv/bin/python" -DCMAKE_MAKE_PROGRAM="$PWD/.venv/bin/ninja"
.venv/bin/cmake --build "$build/cmake"
preload=$(for lib in libasan.so libubsan.so libstdc++.so; do "${CXX:-g++}" -print-file-name=$lib; done | paste -sd:)
python=$PWD/.venv/bin/python
cd "$site"
# The editable install would be imported instead of this copy, so its finder is removed.
LD_PRELOAD=$preload ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1 "$python" -c '
import sys
sys.meta_path = [f for f in sys.meta_path if "scikit" not in type(f).__module__ + type(f).__name__.lower()]
sys.path.insert(0, ".")
import pytest, snaprun
assert "sanitize" in snaprun.__file__, snaprun.__file__
# This test starts threads with a stack of 16 GiB, which AddressSanitizer cannot map.
stacks = "tests/influence/test_native.py::test_a_thread_that_cannot_start_means_one_less"
arguments = ["-q", "-p", "no:cacheprovider", "-x", "@tests/native.txt", "--deselect", stacks]
sys.exit(pytest.main([*arguments, *sys.argv[1:]]))
' "$@"
