"""Learning curves over seeds: which metrics are shown, and against which counter."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snaprun.checks import refuse
from snaprun.figures.select import Series, Sheet
from snaprun.figures.stats import Array, carried, median_band, smoothed
from snaprun.metrics import EVERY, Metric
from snaprun.store.reader import Run, declared
from snaprun.store.schema import DIVERGED, FINISHED

_GRID = 400  # points of a curve: more cannot be seen at the width of a page
_UNEQUAL = 1.5  # the ratio of updates per token beyond which updates are shown, too


def shown(sheet: Sheet) -> list[Metric]:
    """Return the metrics that figures of a task show; the last one is what compares its runs.

    The last one is the first declared metric that no other one has `beside` it or `shown` above it,
    and that no configuration keeps constant. Raises UserError if there is none.
    """
    columns = set().union(*(run.columns for run in sheet.runs))
    known = declared(sheet.runs)
    there = [metric for metric in known.values() if metric.key in columns]
    second = {key for metric in there for key in (*metric.beside, *metric.shown)}
    for metric in there:
        configs = [run.config["task"] for run in sheet.runs]
        fixed = all(config.get(metric.fixed_by) is not None for config in configs)
        if metric.key not in second and not fixed:
            return [*(one for one in there if one.key in metric.shown), metric]
    beside = {key for metric in known.values() for key in metric.beside}
    expected = ", ".join(key for key in known if key not in beside)
    refuse("source", ", ".join(sorted(columns)), f"runs with a column of {expected}")


@dataclass(frozen=True)
class Counter:
    """What the x axis counts: a column of the metrics."""

    key: Literal["tokens", "updates", "seconds"]
    label: str


TOKENS = Counter("tokens", "data-time (tokens)")
UPDATES = Counter("updates", "updates of the parameters")
SECONDS = Counter("seconds", "wall-clock time (s)")


def rows(sheet: Sheet) -> list[tuple[Metric, Counter]]:
    """Return the rows of facets: each metric against tokens, the last one also against updates.

    Updates are shown only if runs make different numbers of updates of the same tokens.
    """
    metrics = shown(sheet)
    rates = [run.columns["updates"][-1] / run.columns["tokens"][-1] for run in sheet.runs]
    against = [(metric, TOKENS) for metric in metrics]
    if max(rates) > _UNEQUAL * min(rates):
        against += [(metric, UPDATES) for metric in metrics[-1:]]
    return against


@dataclass(frozen=True)
class Curve:
    """A series on the common grid; all arrays have shape (G,)."""

    at: Array  # the counter
    median: Array
    low: Array
    high: Array
    seeds: NDArray[np.int64]  # how many have a value here: a diverged seed has none after its end
    stops: list[tuple[float, float]]  # (at, value) at which a diverged seed ended


def curve(series: Series, metric: Metric, counter: Counter = TOKENS) -> Curve | None:
    """Return the series on the grid of its runs' rows (at most 400); None if no run has a value."""
    tracks = [found for run in series.runs if (found := track(run, metric, counter))]
    if not tracks:
        return None
    grid_G = np.unique(np.concatenate([track.at for track in tracks]))
    # The grid starts where every seed has a value, so that the median does not jump as seeds join.
    grid_G = grid_G[grid_G >= max(track.at[0] for track in tracks)]
    if len(grid_G) > _GRID:
        grid_G = grid_G[np.linspace(0, len(grid_G) - 1, _GRID).round().astype(int)]
    values_SG = np.array([carried(track.at, track.values, grid_G) for track in tracks])
    # Seeds that finish the same data-time end less than a sequence apart, so the last value stands
    # until the last of these ends.
    last = {due: max(t.end for t in tracks if t.due == due) for due in {t.due for t in tracks}}
    holds = [track.end if track.due is None else last[track.due] for track in tracks]
    values_SG[grid_G > np.array(holds)[:, None]] = np.nan
    seeds_G = np.isfinite(values_SG).sum(axis=0)
    stops = [(track.at[-1], track.values[-1]) for track in tracks if track.diverged]
    return Curve(grid_G, *median_band(values_SG), seeds_G, stops)


@dataclass(frozen=True)
class Track:
    """The rows of one run that have a value."""

    at: Array  # (N,)
    values: Array  # (N,), smoothed as the metric asks
    end: float  # the last row of the run
    due: float | None  # the tokens that the run was to reach; None if it did not
    diverged: bool


def track(run: Run, metric: Metric, counter: Counter = TOKENS) -> Track | None:
    """Return the values of a metric along a run; None if the run lacks them or the counter."""
    if not run.columns.keys() >= {metric.key, counter.key}:
        return None
    at, tokens = (run.columns[key].astype(float) for key in (counter.key, "tokens"))
    if counter == TOKENS:
        at = _due(run)
    values = run.columns[metric.key].astype(float)
    known = np.isfinite(values)
    if not known.any():
        return None
    end = float(at[-1])
    due = extent(run) if run.status == FINISHED else None
    width = metric.smoothing * float(tokens[-1])
    at, tokens, values = at[known], tokens[known], values[known]
    if width:
        values = smoothed(tokens, values, width)
    return Track(at, values, end, due, run.status == DIVERGED)


def extent(run: Run) -> float:
    """Return the tokens that a run was to reach; infinity if its configuration does not say."""
    return float(run.config.get("train", {}).get("tokens", math.inf))


def _due(run: Run) -> Array:
    """Return when each row was due (N,), the same in all seeds; for the last row, the run's end.

    With the tokens at which rows were written, the points of different seeds would not coincide.
    """
    due = [at_N for every in EVERY if (at_N := run.due(every)) is not None]
    if not due:
        return run.columns["tokens"].astype(float)
    return np.append(np.max(due, axis=0)[:-1], run.end)
