"""snaprun fsck checks that the files of the runs under a folder are as they were written."""

from dataclasses import dataclass
from pathlib import Path

from snaprun import config
from snaprun.commands.base import FlatKeys
from snaprun.fsck import fsck
from snaprun.outcome import Outcome, Status
from snaprun.terminal import say


@dataclass(frozen=True)
class Keys(FlatKeys):
    """The keys of conf/fsck.yaml."""

    source: str


def run(keys: Keys) -> Outcome:
    """Verify the files of every run; the outcome is FAILED if one is damaged."""
    found = fsck(Path(keys.source), config.require_named, say)
    problem = f"{found.damaged} of {found.runs} runs are damaged."
    return Outcome(Status.FAILED, problem=problem) if found.damaged else Outcome()
