"""The states and progress of runs, read from the ends of their files while the runs go on."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from snaprun import checks, listing, rule_names
from snaprun.checks import UserError, one_of
from snaprun.files import Folder, read
from snaprun.identity import without_whereabouts
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
    read_config,
    read_summary,
    state,
)
from snaprun.store.outline import Outline
from snaprun.store.schema import CONFIG, METRICS, MOST_OF_CONFIG, check_counters
from snaprun.terminal import duration, table, visible

if TYPE_CHECKING:
    import pandas as pd

DAMAGED = "damaged"  # the files of the run cannot be read
STATES = (RUNNING, FINISHED, DIVERGED, FAILED, STOPPED, DAMAGED)
TAIL = 4096  # bytes of the metrics that are read: some twenty rows
MIXED = "*"  # marks the state of a run that was resumed in another setting
WIDTH = 60  # characters of a run's name, at most
RULE = "rule"  # the column of the word for a rule
LEFT = "ETA"  # the column of the seconds left
COUNTED = ("tokens", "of", "tokens/s")  # columns of whole numbers


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
    time_left: float | None = None  # seconds until train.time ends the run

    @property
    def seconds_left(self) -> float | None:
        """The seconds until the run ends; None if it is not running or its speed is unknown."""
        if self.state != RUNNING or self.tokens is None or not (self.total and self.speed):
            return None
        left = max(self.total - self.tokens, 0) / self.speed
        return left if self.time_left is None else min(left, max(self.time_left, 0))


@dataclass(frozen=True)
class Question:
    """Which of the runs a table shows, in which order, and how it is written."""

    state: str = "all"
    where: str | None = None  # a condition on columns
    sort: Sequence[str] = ()  # columns; -COLUMN: from the largest on
    group: Sequence[str] = ()  # keys over which metrics are averaged
    columns: Sequence[str] | None = None
    form: listing.Format = "table"
    short: bool = False  # long names lose their middle

    def __post_init__(self) -> None:
        one_of("state", self.state, ("all", *STATES))
        one_of("format", self.form, get_args(listing.Format))


def status(source: Path, asked: Question | None = None) -> str:
    """Return a table of the runs under `source`, with totals unless a program is to read it.

    Raises UserError if there are no runs, or for a column that the table does not have.
    """
    asked, source = asked or Question(), chosen(source)
    standings = [standing(folder) for folder in find_runs(source)]
    shown = [one for one in standings if asked.state in ("all", one.state)]
    configs = [readable(one.folder) for one in shown]
    frame, keys, metrics = table_of(shown, configs, source)
    matched = ""
    if asked.where:
        found = listing.where(frame, asked.where)
        matched = "\n" + listing.matched(frame, len(found), asked.where)
        frame = found
    if asked.group:
        frame = listing.grouped(frame, asked.group, keys, metrics)
    if asked.sort:
        frame = listing.ordered(frame, asked.sort)
    if asked.columns is not None:
        frame = listing.only(frame, asked.columns)
    if asked.form == "csv":
        return str(frame.to_csv(index=False)).rstrip()
    if asked.form == "json":
        return str(frame.to_json(orient="records", indent=1, double_precision=15))
    rows = [[*frame.columns], *_cells(frame, asked.short)]
    right = [n for n, kind in enumerate(frame.dtypes) if kind.kind in "if"]
    if asked.form == "markdown":
        rules = ["---:" if n in right else "---" for n in range(len(rows[0]))]
        return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rules, *rows[1:]))
    return "\n".join([*table(rows, right=right), _totals(standings) + matched])


def table_of(
    shown: Sequence[Standing], configs: Sequence[Mapping[str, Any]], source: Path
) -> tuple["pd.DataFrame", list[str], list[str]]:
    """Return a table of runs, the keys that vary among them, and the names of their metrics."""
    import pandas as pd

    choices = [_with_word(listing.flat(without_whereabouts(config))) for config in configs]
    keys = listing.varying(choices)
    metrics = dict.fromkeys(name for one in shown for name in one.last or {})
    rows = [
        {
            "run": str(one.folder.relative_to(source)),
            "state": one.state + MIXED * one.mixed,
            "tokens": one.tokens,
            "of": one.total,
            "tokens/s": one.speed,
            LEFT: one.seconds_left,
            **{key: own.get(key) for key in keys},
            **{name: (one.last or {}).get(name) for name in metrics},
        }
        for one, own in zip(shown, choices, strict=True)
    ]
    columns = ["run", "state", "tokens", "of", "tokens/s", LEFT, *keys, *metrics]
    frame = pd.DataFrame(rows, columns=columns)
    for name in ("tokens", "of"):
        frame[name] = frame[name].astype("Int64")
    for name in ("tokens/s", LEFT, *metrics):
        frame[name] = frame[name].astype("float64")
    return frame, keys, [*metrics]


def _with_word(choices: dict[str, Any]) -> dict[str, Any]:
    """Return choices with the word for their rule, such as snap2, in place of the keys it says."""
    if "rule.name" not in choices:
        return choices
    word = rule_names.word(choices)
    said = rule_names.choices(word)
    return {RULE: word} | {key: value for key, value in choices.items() if key not in said}


def readable(folder: Path) -> Mapping[str, Any]:
    """Return the configuration of a run; {} if it cannot be read."""
    with suppress(UserError):
        return read_config(folder)
    return {}


def _cells(frame: "pd.DataFrame", short: bool) -> Iterator[list[str]]:
    """Yield the cells of every row as a reader wants them."""
    known = frame.notna().to_dict("records")
    for row, there in zip(frame.to_dict("records"), known, strict=True):
        yield [written(str(k), value, short) if there[k] else "" for k, value in row.items()]


def written(name: str, value: Any, short: bool = False) -> str:
    """Return the value of a column as a reader wants it; `short`: long names lose their middle."""
    if name == LEFT:
        return duration(value)
    if name in COUNTED:
        return f"{value:,.0f}"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = visible(str(value))
    if name == "run" and short and len(text) > WIDTH:  # the end holds the seed and the hash
        return f"{text[: WIDTH - WIDTH // 2 - 1]}…{text[-(WIDTH // 2) :]}"
    return text


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
        torn = summary is not None and _end_early(folder / METRICS, summary.tokens)
        if torn and read_summary(folder) != summary:  # the run continues, without its last rows
            return standing(folder)
    except (UserError, ValueError):
        return Standing(folder, DAMAGED, total=total)
    if summary is not None:
        now = DAMAGED if torn else summary.status
        tokens, mixed = summary.tokens, _mixed(summary.extras)
        speed = tokens / summary.seconds if summary.seconds else None
        return Standing(folder, now, tokens, total, speed, summary.metrics, mixed)
    # Not of stopped runs: there may be thousands, and to read a checkpoint takes milliseconds.
    mixed = now == RUNNING and _mixed(_checkpoint(folder))
    if not rows:
        return Standing(folder, now, 0, total, mixed=mixed)
    last = {name: value for row in rows for name, value in row.items() if value is not None}
    tokens = last["tokens"]
    values = {name: value for name, value in last.items() if name not in COUNTERS}
    time = _time(folder)
    left = None if time is None else time - last["seconds"]
    return Standing(folder, now, tokens, total, _speed(rows), values, mixed, left)


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
    found = _of_train(folder, "tokens")
    return int(found) if found.isdecimal() else None


def _time(folder: Path) -> float | None:
    """Return the seconds of `train.time` of the run's configuration."""
    found = _of_train(folder, "time")
    with suppress(ValueError):
        return float(found)
    with suppress(UserError):
        return checks.seconds("train.time", found, "")
    return None


def _of_train(folder: Path, key: str) -> str:
    """Return the value of a key under `train` in the run's configuration as text, or ""."""
    # PyYAML would take a millisecond a run, and the writer lays out all mappings in one way.
    with suppress(OSError, ValueError):
        text = read(folder / CONFIG, MOST_OF_CONFIG).decode()
        if found := re.search(rf"^train:\n(?:  .*\n)*?  {key}: (.+)$", text, re.MULTILINE):
            return found[1]
    return ""


def _end_early(metrics: Path, tokens: int) -> bool:
    """Return whether the metrics of a run that was done after `tokens` tokens lack a last row."""
    with suppress(OSError, ValueError):
        if rows := _last_rows(metrics, 1):
            return rows[-1]["tokens"] < tokens
        return metrics.lstat().st_size <= TAIL  # else the last row is longer than TAIL
    return True


def _last_rows(metrics: Path, most: int = TAIL) -> list[dict[str, Any]]:
    """Return up to `most` whole rows at the end of the metrics, without one being written."""
    with suppress(OSError), Folder.open(metrics.parent) as folder, folder.file(METRICS) as file:
        size = file.seek(0, os.SEEK_END)
        start = file.seek(max(0, size - TAIL))
        lines = file.read(TAIL).split(b"\n")[1 if start else 0 : -1]
        rows = [json.loads(line) for line in lines[-most:]]
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
