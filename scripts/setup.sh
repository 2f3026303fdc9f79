#!/usr/bin/env bash
# Make .venv in this folder and install snaprun into it: scripts/setup.sh [EXTRA[,EXTRA]]
# EXTRA: dev (tests and checks) | tensorboard | joblib | ray | slurm | peers. PYTHON chooses the interpreter (3.11 to 3.13).
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
extras=${1:+[$1]}
.venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --constraint scripts/constraints.txt --editable ".$extras"
echo "snaprun is in .venv/bin; 'source .venv/bin/activate' puts it on the path."
