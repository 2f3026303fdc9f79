"""snaprun fsck checks that the files of the runs under a folder are as they were written."""

from pathlib import Path

from snaprun import config
from snaprun.fsck import fsck
from snaprun.outcome import Outcome, Status
from snaprun.terminal import say


def run(source: str) -> Outcome:
    """Verify the files of every run; the outcome is FAILED if one is damaged."""
    found = fsck(Path(source), config.require_named, say)
    problem = f"{found.damaged} of {found.runs} runs are damaged."
    return Outcome(Status.FAILED, problem=problem) if found.damaged else Outcome()
