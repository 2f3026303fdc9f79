"""The columns that `snaprun align` added, as lines along a run; G points of a run, S seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from snaprun.figures import words
from snaprun.figures.stats import Array, median_band
from snaprun.store.reader import Run
from snaprun.store.schema import ALIGNMENT, WHOLE

Key = tuple[str, str, str]  # rule, slot, quantity


@dataclass(frozen=True)
class Line:
    """One quantity of one rule and slot; all arrays have shape (G,)."""

    tokens: Array
    value: Array
    low: Array
    high: Array


Lines = Mapping[Key, Line]

_HEADINGS = {  # in the table for a terminal: the quantity and its format
    "cosine": ("cosine", ".4f"),
    "‖g‖/‖g*‖": ("norm_ratio", ".3g"),
    "bias²": ("bias2", ".3g"),
    "variance": ("variance", ".3g"),
    "stale to fresh": ("stale_fresh", ".4f"),
    "stale to exact": ("stale_exact", ".4f"),
}


def lines(runs: Sequence[Run]) -> Lines:
    """Return a line for each quantity compared along `runs`, which differ in the seed alone.

    Of several runs, a line is the median and its band; of one run, the values and their intervals.
    """
    compared = [run for run in runs if any(map(_key, run.columns))]
    frames = [frame for run in compared if len(frame := _points(run))]
    points = max(map(len, frames), default=0)

    def stacked(name: str) -> Array:
        values_SG = np.full((len(frames), points), np.nan)
        for s, frame in enumerate(frames):
            if name in frame:
                values_SG[s, : len(frame)] = frame[name]
        return values_SG

    found: dict[Key, Line] = {}
    for name in dict.fromkeys(column for frame in frames for column in frame):
        key = _key(name)
        if key is None:
            continue
        if len(frames) > 1:
            band = median_band(stacked(name))
        else:
            band = tuple(stacked(f"{name}{end}")[0] for end in ("", "_low", "_high"))
        found[key] = Line(np.nanmedian(stacked("tokens"), axis=0), *band)
    return found


def as_rows(drawn: Lines) -> pd.DataFrame:
    """Return a table with a row for every point, rule, slot and quantity."""
    parts = []
    for (rule, slot, quantity), line in drawn.items():
        part = {"tokens": line.tokens.astype("int64"), "rule": rule, "slot": slot}
        part |= {"quantity": quantity, "value": line.value, "low": line.low, "high": line.high}
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def as_text(run: Run) -> str:
    """Return the last point of a run as text: a row for each rule, over all parameters."""
    drawn = lines([run])
    if not drawn:
        return "no gradients were compared: the run ended before its first point"
    rules = dict.fromkeys(rule for rule, _, _ in drawn)
    shown = pd.DataFrame({"rule": [words.called(rule).text for rule in rules]})
    for heading, (quantity, form) in _HEADINGS.items():
        column = [_last(drawn.get((rule, WHOLE, quantity)), form) for rule in rules]
        if any(column):
            shown[heading] = column
    tokens = max(int(line.tokens[-1]) for line in drawn.values())
    heading = (
        f"gradients of a batch beside the exact one after {tokens} tokens; stale: as trained, "
        "fresh: the influence recomputed (cosines)"
    )
    return f"{heading}\n{shown.to_string(index=False, justify='right')}"


def _last(line: Line | None, form: str) -> str:
    """Return the last value in words, with its interval if it has one."""
    if line is None or math.isnan(line.value[-1]):
        return ""
    value, low, high = (format(ends[-1], form) for ends in (line.value, line.low, line.high))
    return value if math.isnan(line.low[-1]) else f"{value} [{low}, {high}]"


def _points(run: Run) -> pd.DataFrame:
    """Return the rows of a run in which gradients were compared."""
    columns = [name for name in run.columns if _key(name)]
    return run.metrics.loc[run.metrics[columns].notna().any(axis=1)]


def _key(name: str) -> Key | None:
    parts = name.split("/")
    if len(parts) != 4 or parts[0] != ALIGNMENT or parts[3].endswith(("_low", "_high")):
        return None
    return parts[1], parts[2], parts[3]
