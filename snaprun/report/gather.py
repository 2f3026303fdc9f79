"""Reading runs for a report, which shows also those that cannot be read or drawn."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from snaprun.checks import UserError
from snaprun.figures import curves, select
from snaprun.figures.select import Sheet
from snaprun.status import DAMAGED, Standing, readable, standing
from snaprun.store.panel import is_panel, panels_in, read_panel
from snaprun.store.reader import Run, chosen, find_runs


@dataclass
class Entry:
    """One run as it stands, as far as it can be read."""

    standing: Standing
    config: Mapping[str, Any]  # empty if it cannot be read
    run: Run | None  # None if a file is damaged
    why: str = ""  # no curve shows the run, for this reason


@dataclass(frozen=True)
class Part:
    """The runs of one task that are shown together."""

    name: str
    sheet: Sheet


@dataclass(frozen=True)
class Gathered:
    """All runs under the sources of a report."""

    sources: tuple[str, ...]  # as a reader of the report may see them
    root: Path  # the folder that holds all runs
    entries: tuple[Entry, ...]
    parts: tuple[Part, ...]  # the runs that can be drawn

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
    panels = panels_in(sources[0]) if len(sources) == 1 else []
    folders = [chosen(source) for source in panels or sources]
    if any(folder.is_absolute() for folder in folders):
        folders = [folder.absolute() for folder in folders]
    entries = [_entries(folder) for folder in folders]
    if panels:  # each of which chose its own learning rates
        parts = [
            Part(f"{panel.name}, {sheet.task}", sheet)
            for panel, own in zip(panels, entries, strict=True)
            for sheet in _sheets(own, True)
        ]
    else:
        sheets = _sheets([entry for own in entries for entry in own], all(map(is_panel, folders)))
        parts = [Part(sheet.task, sheet) for sheet in sheets]
    root = Path(os.path.commonpath(folders))
    shown = tuple(map(_shown, sources))
    return Gathered(shown, root, tuple(entry for own in entries for entry in own), tuple(parts))


def _sheets(entries: Sequence[Entry], chosen: bool) -> list[Sheet]:
    """Return the sheets of runs, and note at each other run why it has no place in them."""
    kept, left = select.distinct((one.run for one in entries if one.run and not one.why), True)
    reasons = dict(left)
    sheets = list[Sheet]()
    for sheet in select.sheets(kept, chosen):
        try:
            curves.shown(sheet)
            sheets.append(sheet)
        except UserError as error:
            reasons |= dict.fromkeys(sheet.runs, str(error))
    for entry in entries:
        if entry.run and not entry.why:
            entry.why = reasons.get(entry.run, "")
    return sheets


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
    run, fault = select.placed(folder)
    why = str(fault) if fault else ""
    if run is None:
        return Entry(replace(stands, state=DAMAGED), readable(folder), None, why)
    return Entry(stands, run.config, run, why)
