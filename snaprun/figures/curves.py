"""What was learned, as curves over seeds: which quantity, against which counter."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snaprun.checks import refuse
from snaprun.figures.select import Series, Sheet
from snaprun.figures.stats import Array, carried, median_band, smoothed
from snaprun.store.reader import Run
from snaprun.store.schema import DIVERGED, FINISHED

_GRID = 400  # points a curve: more are not seen at the width of a page
SMOOTHING = 0.02  # of the data-time of a run
_UNEQUAL = 1.5  # times the updates of the same tokens


@dataclass(frozen=True)
class Quantity:
    """A column of the metrics that tells how much was learned."""

    key: str
    label: str
    ceiling: float = math.inf  # of the axis: beyond it lies what is worse than guessing
    smooth: bool = False
    step: bool = False  # an integer that jumps


MASTERED = Quantity("mastered", "L mastered (bits)")  # measured at its points, not held between
LEVEL = Quantity("level", "L reached (bits)", step=True)
TRAINING = Quantity("bpc", "training bpc", ceiling=10, smooth=True)
VALIDATION = Quantity("validation_bpc", "validation bpc", ceiling=10)


def quantities(sheet: Sheet) -> list[Quantity]:
    """What the figures of a task show; the last one is what its runs are compared by.

    UserError where there is none.
    """
    columns = set().union(*(run.columns for run in sheet.runs))
    # At a fixed length L never moves.
    fixed = all(run.config["task"].get("fixed_length") is not None for run in sheet.runs)
    if LEVEL.key in columns and not fixed:
        return [quantity for quantity in (MASTERED, LEVEL) if quantity.key in columns]
    found = [quantity for quantity in (TRAINING, VALIDATION) if quantity.key in columns]
    if not found:
        known = ", ".join(quantity.key for quantity in (LEVEL, TRAINING, VALIDATION))
        refuse("source", ", ".join(sorted(columns)), f"runs with a column of {known}")
    return found


@dataclass(frozen=True)
class Counter:
    """What the x axis counts: a column of the metrics."""

    key: Literal["tokens", "updates"]
    label: str


TOKENS = Counter("tokens", "data-time (tokens)")
UPDATES = Counter("updates", "updates of the parameters")


def rows(sheet: Sheet) -> list[tuple[Quantity, Counter]]:
    """The rows of panels: each quantity against tokens, the last of them against updates, too.

    The latter only where rules differ in how many updates they make of the same tokens.
    """
    shown = quantities(sheet)
    rates = [run.columns["updates"][-1] / run.columns["tokens"][-1] for run in sheet.runs]
    against = [(quantity, TOKENS) for quantity in shown]
    if max(rates) > _UNEQUAL * min(rates):
        against += [(quantity, UPDATES) for quantity in shown[-1:]]
    return against


@dataclass(frozen=True)
class Curve:
    """A series on the common grid; all arrays have shape (G,)."""

    at: Array  # the counter
    median: Array
    low: Array
    high: Array
    seeds: NDArray[np.int64]  # how many have a value here: a diverged seed has none from its end on
    stops: list[tuple[float, float]]  # (at, value) at which a diverged seed ended


def curve(series: Series, quantity: Quantity, counter: Counter = TOKENS) -> Curve | None:
    """The series on the grid of its runs' rows (thinned to 400); None without any row of it."""
    tracks = [track for run in series.runs if (track := _track(run, quantity, counter))]
    if not tracks:
        return None
    grid_G = np.unique(np.concatenate([track.at for track in tracks]))
    # From where every seed has begun, lest the median jumps as they come in.
    grid_G = grid_G[grid_G >= max(track.at[0] for track in tracks)]
    if len(grid_G) > _GRID:
        grid_G = grid_G[np.linspace(0, len(grid_G) - 1, _GRID).round().astype(int)]
    values_SG = np.array([track.on(grid_G) for track in tracks])
    median_G, low_G, high_G = median_band(values_SG)
    return Curve(
        grid_G,
        median_G,
        low_G,
        high_G,
        np.isfinite(values_SG).sum(axis=0),
        [(track.at[-1], track.values[-1]) for track in tracks if track.diverged],
    )


@dataclass(frozen=True)
class _Track:
    """The rows of one run that have a value."""

    at: Array  # (N,)
    values: Array  # (N,)
    end: float  # up to where the last value holds
    diverged: bool

    def on(self, grid_G: Array) -> Array:
        values_G = carried(self.at, self.values, grid_G)
        return np.where(grid_G <= self.end, values_G, np.nan)


def _track(run: Run, quantity: Quantity, counter: Counter) -> _Track | None:
    if quantity.key not in run.columns:
        return None
    at, tokens = (run.columns[key].astype(float) for key in (counter.key, "tokens"))
    if counter == TOKENS:
        at = _due(run)
    values = run.columns[quantity.key].astype(float)
    known = np.isfinite(values)
    if not known.any():
        return None
    # Finished seeds end less than a sequence apart: there the last value holds on.
    end = math.inf if run.status == FINISHED else float(at[-1])
    width = SMOOTHING * float(tokens[-1])
    at, tokens, values = at[known], tokens[known], values[known]
    if quantity.smooth:
        values = smoothed(tokens, values, width)
    return _Track(at, values, end, run.status == DIVERGED)


def _due(run: Run) -> Array:
    """The data-time of each row (N,), the same in all seeds: what was due, at the end all of it.

    By the tokens that a row carries a seed whose batch ended earlier would stand alone in between.
    """
    known = [run.due(every) for every in ("log_every", "eval_every")]
    due = [at_N for at_N in known if at_N is not None]
    if not due:
        return run.columns["tokens"].astype(float)
    return np.append(np.max(due, axis=0)[:-1], run.end)
