#!/usr/bin/env bash
# Check style, types and the direction of imports, and run all tests; needs scripts/setup.sh dev.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
ruff check .
ruff format --check .
pyright --pythonpath .venv/bin/python
lint-imports
# A file to a worker, so that what its tests share is made once; the files in order.
pytest -n "${TEST_WORKERS:-2}" --dist loadfile --no-loadscope-reorder "$@"
