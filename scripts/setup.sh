#!/usr/bin/env bash
# Make .venv in this folder and install snaprun into it: scripts/setup.sh [EXTRA[,EXTRA]]
# EXTRA: dev (tests and checks), or another of the optional dependencies in pyproject.toml. PYTHON chooses the interpreter (3.11 to 3.14).
set -euo pipefail
cd "$(dirname "$0")/.."

fits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'
version='import platform; print(platform.python_version())'
refuse() { echo "scripts/setup.sh: $1" >&2; exit 2; }

python=${PYTHON:-python3}
if [ -e .venv ]; then
    .venv/bin/python -c "$version" >/dev/null 2>&1 || refuse ".venv holds no Python that runs: remove it, then run this again."
    .venv/bin/python -c "$fits" || refuse ".venv has Python $(.venv/bin/python -c "$version"), snaprun needs 3.11 to 3.14: remove it, then run PYTHON=python3.12 scripts/setup.sh."
    echo "Using .venv with Python $(.venv/bin/python -c "$version")."
else
    "$python" -c "$version" >/dev/null 2>&1 || refuse "$python is no Python that runs: set PYTHON to one of 3.11 to 3.14, as in PYTHON=python3.12 scripts/setup.sh."
    "$python" -c "$fits" || refuse "$python is Python $("$python" -c "$version"), snaprun needs 3.11 to 3.14: run PYTHON=python3.12 scripts/setup.sh."
    echo "Making .venv with Python $("$python" -c "$version")."
    "$python" -m venv .venv
fi

extras=${1:+[$1]}
echo "Installing snaprun${extras} and building its C++ core; this takes a few minutes."
.venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --constraint scripts/constraints.txt --editable ".$extras"
if .venv/bin/python -c 'import snaprun._native' 2>/dev/null; then
    echo "The C++ core was built."
else
    echo "The C++ core was not built, for lack of a C++17 compiler: PyTorch does the work, more slowly."
fi
echo "snaprun is in .venv/bin; 'source .venv/bin/activate' puts it on the path."
