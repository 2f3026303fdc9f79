"""The state of a run, seen from outside and without touching the run."""

from pathlib import Path

from snaprun.store.lock import Owner
from snaprun.store.reader import read_summary
from snaprun.store.schema import FAILED, FAILURE, RUNNING, STOPPED


def state(folder: Path) -> str:
    """Return the state of the run in `folder`: finished, diverged, running, failed or stopped.

    A run of another host counts as running if one of its files changed in the last five minutes.
    Takes no lock, so that a process that starts meanwhile is not refused. Raises UserError if the
    summary is damaged.
    """
    if summary := read_summary(folder):
        return summary.status
    owner = Owner.read(folder)
    if owner and owner.lives(folder):
        return RUNNING
    return FAILED if (folder / FAILURE).exists() else STOPPED
