"""snaprun report writes one HTML file with the tables, curves and figures of runs."""

from pathlib import Path

from snaprun.files import paths
from snaprun.outcome import Outcome
from snaprun.report import report
from snaprun.terminal import say


def run(source: str | list, output: str | None) -> Outcome:
    """Write the report, and print its path."""
    sources = paths(source)
    say(report(sources, None if output is None else Path(output)))
    return Outcome()
