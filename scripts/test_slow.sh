#!/usr/bin/env bash
# scripts/test_slow.sh [pytest arguments]
# Run the tests that take minutes each (kills, a cluster, the soak); needs scripts/setup.sh dev.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
pytest -m slow -rP "$@"
