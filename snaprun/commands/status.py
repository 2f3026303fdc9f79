"""snaprun status prints the state of the runs under a folder."""

import sys
from pathlib import Path

from snaprun.listing import Format
from snaprun.outcome import Outcome
from snaprun.status import Question, status
from snaprun.terminal import say


def run(
    source: str,
    state: str,
    where: str | None,
    sort: str | list | None,
    group: str | list | None,
    columns: str | list | None,
    format: Format,
) -> Outcome:
    """Print a line for every run, or for every group of runs."""
    asked = Question(
        state,
        where,
        _listed(sort),
        _listed(group),
        None if columns is None else _listed(columns),
        format,
        short=sys.stdout.isatty(),
    )
    say(status(Path(source), asked))
    return Outcome()


def _listed(names: str | list | None) -> list:
    return [names] if isinstance(names, str) else names or []
