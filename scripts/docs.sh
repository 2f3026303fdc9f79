#!/usr/bin/env bash
# Build the site into site/, with warnings as errors, and run its notebooks; needs scripts/setup.sh docs.
# Arguments go to scripts/docs_source.py: --no-notebooks shows the notebooks without outputs.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" PYTHONPATH=scripts NO_MKDOCS_2_WARNING=1
export PYTHONWARNINGS="ignore:IProgress not found"  # of tqdm in a notebook without widgets
python scripts/docs_source.py "$@"
mkdocs build --strict
echo "The site is in site/: open site/index.html."
