"""snaprun status: how the runs under a folder stand."""

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
    """Print a line a run."""
    say(status(Path(keys.source), keys.state))
    return Outcome()
