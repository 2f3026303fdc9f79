"""snaprun status prints the state of the runs under a folder."""

from dataclasses import dataclass
from pathlib import Path

from snaprun.commands.base import FlatKeys
from snaprun.outcome import Outcome
from snaprun.status import status
from snaprun.terminal import say


@dataclass(frozen=True)
class Keys(FlatKeys):
    """The keys of conf/status.yaml."""

    source: str
    state: str


def run(keys: Keys) -> Outcome:
    """Print a line for every run."""
    say(status(Path(keys.source), keys.state))
    return Outcome()
