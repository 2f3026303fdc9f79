"""What a run leaves on disk: its schema, a writer and a reader."""

from snaprun.store.reader import Run, find_runs, read_config, read_run, read_summary
from snaprun.store.schema import COUNTERS, DIVERGED, FINISHED, INCOMPLETE, Summary
from snaprun.store.writer import RunWriter

__all__ = [
    "COUNTERS",
    "DIVERGED",
    "FINISHED",
    "INCOMPLETE",
    "Run",
    "RunWriter",
    "Summary",
    "find_runs",
    "read_config",
    "read_run",
    "read_summary",
]
