"""The files of a run: their schema, a writer and a reader."""

from snaprun.store.lock import set_aside
from snaprun.store.log import Mark
from snaprun.store.reader import (
    Run,
    chosen,
    declared,
    find_runs,
    read_config,
    read_intact,
    read_run,
    read_summary,
    require_own,
    state,
)
from snaprun.store.schema import (
    BEST,
    BLOW_UP,
    CHECKPOINT,
    COUNTERS,
    DIVERGED,
    FAILED,
    FINISHED,
    INCOMPLETE,
    METRICS,
    NON_FINITE,
    RUNNING,
    STOPPED,
    Summary,
)
from snaprun.store.writer import RunWriter

__all__ = [
    "BEST",
    "BLOW_UP",
    "CHECKPOINT",
    "COUNTERS",
    "DIVERGED",
    "FAILED",
    "FINISHED",
    "INCOMPLETE",
    "METRICS",
    "NON_FINITE",
    "RUNNING",
    "STOPPED",
    "Mark",
    "Run",
    "RunWriter",
    "Summary",
    "chosen",
    "declared",
    "find_runs",
    "read_config",
    "read_intact",
    "read_run",
    "read_summary",
    "require_own",
    "set_aside",
    "state",
]
