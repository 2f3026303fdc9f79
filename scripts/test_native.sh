#!/usr/bin/env bash
# scripts/test_native.sh [pytest arguments]
# Run the tests of the C++ core under the instruction sets that scripts/test.sh leaves out, which takes the best of this
# CPU: all of them (tests/native.txt) under the portable set, those of the engine under the others. Needs scripts/setup.sh dev.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
tests() {
    echo "under SNAPRUN_ISA=$1:"
    SNAPRUN_ISA=$1 pytest -n "${TEST_WORKERS:-2}" "${@:2}"
}
for isa in $(python -c 'from snaprun import _native; print(*_native.isas()[:-1])'); do
    if [ "$isa" = portable ]; then
        tests "$isa" @tests/native.txt "$@"
    else
        tests "$isa" tests/engine/test_native_engine.py "$@"
    fi
done
