#!/usr/bin/env bash
# From nothing to tables and figures: scripts/reproduce.sh [PANEL] [--budget small|full] [KEY=VALUE…]
# PANEL is one of conf/panel, without it all of them; more in conf/reproduce.yaml. Launched again it goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
words=()
while [ $# -gt 0 ]; do
    case $1 in
        --budget) [ $# -gt 1 ] || { echo "scripts/reproduce.sh: --budget needs small or full" >&2; exit 2; }
                  words+=("budget=$2"); shift ;;
        --budget=*) words+=("${1#--}") ;;
        *=*) words+=("$1") ;;
        -h | --help) sed -n '2,3s/^# //p' scripts/reproduce.sh; exit ;;
        -*) echo "scripts/reproduce.sh: $1 is no flag; there are --budget and --help" >&2; exit 2 ;;
        *) [ -z "${panel:-}" ] || { echo "scripts/reproduce.sh: one panel at a time, not $panel and $1" >&2; exit 2; }
           panel=$1; words+=("panel=$1") ;;
    esac
    shift
done
[ -x .venv/bin/snaprun ] || scripts/setup.sh
exec .venv/bin/snaprun reproduce "${words[@]}"
