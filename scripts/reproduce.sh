#!/usr/bin/env bash
# From nothing to tables and figures: scripts/reproduce.sh [PANEL] [--budget small|full] [KEY=VALUE…]
# PANEL is one of conf/panel, without it all of them; more in conf/reproduce.yaml. Launched again it goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
words=()
while [ $# -gt 0 ]; do
    case $1 in
        --budget) words+=("budget=${2:?--budget needs small or full}"); shift ;;
        --budget=*) words+=("${1#--}") ;;
        *=*) words+=("$1") ;;
        -*) sed -n '2,3s/^# //p' scripts/reproduce.sh; exit 2 ;;
        *) [ -z "${panel:-}" ] || { echo "scripts/reproduce.sh: one panel at a time, not $panel and $1" >&2; exit 2; }
           panel=$1; words+=("panel=$1") ;;
    esac
    shift
done
[ -x .venv/bin/snaprun ] || scripts/setup.sh
exec .venv/bin/snaprun reproduce "${words[@]}"
