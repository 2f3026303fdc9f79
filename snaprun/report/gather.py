"""Reading runs for a report, which shows also those that cannot be read or drawn."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from snaprun.checks import UserError
from snaprun.figures import select
from snaprun.figures.select import Sheet
from snaprun.status import DAMAGED, Standing, readable, standing
from snaprun.store.panel import is_panel, panels_in, read_panel
from snaprun.store.reader import Run, chosen, find_runs, read_run


@dataclass
class Entry:
    """One run as it stands, as far as it can be read."""

    standing: Standing
    config: Mapping[str, Any]  # empty if it cannot be read
    run: Run | None  # None if a file is damaged
    why: str = ""  # no curve shows the run, for this reason


@dataclass(frozen=True)
class Gathered:
    """All runs under the sources of a report."""

    sources: tuple[str, ...]  # as a reader of the report may see them
    root: Path  # the folder that holds all runs
    entries: tuple[Entry, ...]
    sheets: tuple[Sheet, ...]  # of the runs that can be drawn

    def named(self, folder: Path) -> str:
        """Return the path of a run without that of the folder which holds all runs."""
        return str(folder.relative_to(self.root))

    def told(self, message: str) -> str:
        """Return a message without the path of the folder that holds all runs."""
        return message.replace(f"{self.root}{os.sep}", "")


def gather(sources: Sequence[Path]) -> Gathered:
    """Return the runs under folders of runs, panels, or one folder of panels.

    Raises UserError if there are no runs.
    """
    if len(sources) == 1:
        sources = panels_in(sources[0]) or sources
    folders = [chosen(source).absolute() for source in sources]
    entries = [entry for folder in folders for entry in _entries(folder)]
    kept, left = select.distinct((entry.run for entry in entries if not entry.why), True)
    for entry in entries:
        if entry.run in left:
            entry.why = left[entry.run]
    sheets = select.sheets(kept, all(map(is_panel, folders)))
    root = Path(os.path.commonpath(folders))
    return Gathered(tuple(map(_shown, sources)), root, tuple(entries), tuple(sheets))


def _shown(source: Path) -> str:
    """Return a path as its user wrote it, or only its end if it begins at the root."""
    if not source.is_absolute():
        return str(source)
    here = Path.cwd()
    return str(source.relative_to(here)) if source.is_relative_to(here) else source.name


def _entries(source: Path) -> list[Entry]:
    if is_panel(source):
        return [_of_panel(run) for run in read_panel(source)]
    return [_of_folder(folder) for folder in find_runs(source)]


def _of_panel(run: Run) -> Entry:
    assert run.summary
    total, seconds = run.config.get("train", {}).get("tokens"), run.summary.seconds
    speed = run.summary.tokens / seconds if seconds else None
    last = run.summary.metrics
    stands = Standing(run.folder, run.status, run.summary.tokens, total, speed, last)
    return Entry(stands, run.config, run)


def _of_folder(folder: Path) -> Entry:
    stands = standing(folder)
    try:
        run = read_run(folder)
    except UserError as error:
        return Entry(replace(stands, state=DAMAGED), readable(folder), None, str(error))
    try:
        select.chosen_by(run)
    except UserError as error:
        return Entry(stands, run.config, run, str(error))
    return Entry(stands, run.config, run)
