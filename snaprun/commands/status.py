"""snaprun status prints the state of the runs under a folder."""

from pathlib import Path

from snaprun.outcome import Outcome
from snaprun.status import status
from snaprun.terminal import say


def run(source: str, state: str) -> Outcome:
    """Print a line for every run."""
    say(status(Path(source), state))
    return Outcome()
