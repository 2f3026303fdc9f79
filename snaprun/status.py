"""The states and progress of runs, read from the ends of their files while the runs go on."""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snaprun.checks import UserError, one_of
from snaprun.files import Folder, read
from snaprun.store import (
    CHECKPOINT,
    COUNTERS,
    DIVERGED,
    FAILED,
    FINISHED,
    RUNNING,
    STOPPED,
    chosen,
    find_runs,
    read_summary,
    state,
)
from snaprun.store.outline import Outline
from snaprun.store.schema import CONFIG, METRICS, MOST_OF_CONFIG, check_counters
from snaprun.terminal import table, visible

DAMAGED = "damaged"  # the files of the run cannot be read
STATES = (RUNNING, FINISHED, DIVERGED, FAILED, STOPPED, DAMAGED)
TAIL = 4096  # bytes of the metrics that are read: some twenty rows
MIXED = "*"  # marks the state of a run that was resumed in another setting
WIDTH = 60  # characters of a run's name, at most


@dataclass(frozen=True)
class Standing:
    """The state and progress of one run."""

    folder: Path
    state: str  # one of STATES
    tokens: int | None = None
    total: int | None = None  # the tokens that the run is to process
    speed: float | None = None  # tokens per second
    last: Mapping[str, float | None] | None = None  # the newest value of each metric
    mixed: bool = False  # the run goes on or is done, and went through several settings

    @property
    def seconds_left(self) -> float | None:
        """The seconds until the run ends; None if it is not running or its speed is unknown."""
        if self.state != RUNNING or self.tokens is None or not (self.total and self.speed):
            return None
        return max(self.total - self.tokens, 0) / self.speed


def status(source: Path, only: str = "all") -> str:
    """Return a table, with totals, of the runs under `source`, all or `only` those in one state.

    Raises UserError if there are no runs or `only` is no state.
    """
    one_of("state", only, ("all", *STATES))
    source = chosen(source)
    standings = [standing(folder) for folder in find_runs(source)]
    shown = [standing for standing in standings if only in ("all", standing.state)]
    head = ("run", "state", "tokens", "of", "tokens/s", "ETA", "last")
    rows = [head, *(_cells(standing, source) for standing in shown)]
    return "\n".join([*table(rows, right=range(2, 6)), _totals(standings)])


def standing(folder: Path) -> Standing:
    """Return the state and progress of a run, which may change meanwhile: takes no lock."""
    total = _total(folder)
    try:
        now, summary = "", read_summary(folder)
        if summary is None:
            now = state(folder)
            # Read again, so that a run that ends in between does not count as stopped.
            summary = read_summary(folder)
        rows = [] if summary else _last_rows(folder / METRICS)
    except (UserError, ValueError):
        return Standing(folder, DAMAGED, total=total)
    if summary is not None:
        now, tokens, mixed = summary.status, summary.tokens, _mixed(summary.extras)
        speed = tokens / summary.seconds if summary.seconds else None
        return Standing(folder, now, tokens, total, speed, summary.metrics, mixed)
    # Not of stopped runs: there may be thousands, and to read a checkpoint takes milliseconds.
    mixed = now == RUNNING and _mixed(_checkpoint(folder))
    if not rows:
        return Standing(folder, now, 0, total, mixed=mixed)
    last = {name: value for row in rows for name, value in row.items() if value is not None}
    tokens = last["tokens"]
    values = {name: value for name, value in last.items() if name not in COUNTERS}
    return Standing(folder, now, tokens, total, _speed(rows), values, mixed)


def _mixed(record: Mapping[str, Any]) -> bool:
    """Return whether a summary or checkpoint names several settings (snaprun.run.setting)."""
    segments = record.get("segments")
    return isinstance(segments, list) and len(segments) > 1


def _checkpoint(folder: Path) -> Mapping[str, Any]:
    """Return the content of the checkpoint, its sha256 unverified; {} if it cannot be read."""
    with suppress(OSError, ValueError), Folder.open(folder) as held, held.file(CHECKPOINT) as file:
        tree = Outline(file).tree
        return tree if isinstance(tree, dict) else {}
    return {}


def _total(folder: Path) -> int | None:
    """Return `train.tokens` of the run's configuration."""
    # PyYAML would take a millisecond a run, and the writer lays out all mappings in one way.
    with suppress(OSError, ValueError):
        text = read(folder / CONFIG, MOST_OF_CONFIG).decode()
        if found := re.search(r"^train:\n(?:  .*\n)*?  tokens: (\d+)$", text, re.MULTILINE):
            return int(found[1])
    return None


def _last_rows(metrics: Path) -> list[dict[str, Any]]:
    """Return the whole rows at the end of the metrics, without one that is being written."""
    with suppress(OSError), Folder.open(metrics.parent) as folder, folder.file(METRICS) as file:
        size = file.seek(0, os.SEEK_END)
        start = file.seek(max(0, size - TAIL))
        lines = file.read(TAIL).split(b"\n")[1 if start else 0 : -1]
        rows = [json.loads(line) for line in lines]
        for row in rows:
            check_counters(row)
        return rows
    return []


def _speed(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return tokens per second over the last rows, or from the start if they have one time."""
    first, last = rows[0], rows[-1]
    for tokens, seconds in ((first["tokens"], first["seconds"]), (0, 0)):
        if last["tokens"] > tokens and last["seconds"] > seconds:
            return (last["tokens"] - tokens) / (last["seconds"] - seconds)
    return None


def _cells(standing: Standing, source: Path) -> tuple[str, ...]:
    values = (standing.last or {}).items()
    name = visible(str(standing.folder.relative_to(source)))
    if len(name) > WIDTH:  # without its middle, as the end holds the seed and the hash
        name = f"{name[: WIDTH - WIDTH // 2 - 1]}…{name[-(WIDTH // 2) :]}"
    return (
        name,
        standing.state + MIXED * standing.mixed,
        _count(standing.tokens),
        _count(standing.total),
        _count(standing.speed),
        duration(standing.seconds_left),
        "  ".join(f"{visible(name)} {value:.4g}" for name, value in values if value is not None),
    )


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """Return `seconds` in words, such as `42 s`, `7 min` or `2 h 05 min`; "" for None."""
    if seconds is None:
        return ""
    minutes, hours = seconds / 60, seconds / 3600
    if minutes < 1:
        return f"{seconds:.0f} s"
    if hours < 1:
        return f"{minutes:.0f} min"
    if hours < 24:
        return f"{int(hours)} h {int(minutes) % 60:02} min"
    return f"{int(hours / 24)} d {int(hours) % 24} h"


def _totals(standings: Sequence[Standing]) -> str:
    """Return in words how many runs are in each state, and when the running ones will end."""
    found = Counter(standing.state for standing in standings)
    counts = ", ".join(f"{found[name]} {name}" for name in STATES if found[name])
    noun = "run" if len(standings) == 1 else "runs"
    left = [s.seconds_left for s in standings if s.seconds_left is not None]
    until = f"; those that run end in {duration(max(left))}" if left else ""
    mixed = sum(standing.mixed for standing in standings)
    line = f"\n{MIXED} {mixed} resumed in another setting: segments in summary.json"
    return f"{len(standings)} {noun}: {counts}{until}" + (line if mixed else "")
