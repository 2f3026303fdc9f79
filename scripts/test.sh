#!/usr/bin/env bash
# All tests, style, types and the direction of imports; needs scripts/setup.sh dev.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
ruff check .
ruff format --check .
pyright --pythonpath .venv/bin/python
lint-imports
pytest -n "${TEST_WORKERS:-2}" "$@"
