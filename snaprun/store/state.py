"""How a run stands, seen from outside and without touching it."""

from pathlib import Path

from snaprun.store.lock import Owner
from snaprun.store.reader import read_summary
from snaprun.store.schema import FAILED, FAILURE, RUNNING, STOPPED


def state(folder: Path) -> str:
    """`finished`, `diverged`, `running`, `failed` or `stopped`: the state of the run in `folder`.

    A run of another host counts as running while it has written something in the last five
    minutes. Takes no lock, so that a process that starts meanwhile is not refused. Raises
    UserError where the summary is damaged.
    """
    if summary := read_summary(folder):
        return summary.status
    owner = Owner.read(folder)
    if owner and owner.lives(folder):
        return RUNNING
    return FAILED if (folder / FAILURE).exists() else STOPPED
