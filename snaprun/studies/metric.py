"""The number that a run is judged by: a metric late in training.

A row of metrics counts at the data-time at which it was due, a multiple of `train.log_every` or
`train.eval_every`, and not at its own number of tokens: a batch ends where its sequences end, some
tokens after the row was due, and how many differs between runs.
"""

import numpy as np

from snaprun.figures.stats import Array, carried
from snaprun.metrics import Every, Metric
from snaprun.store import DIVERGED, Run

LATE = 0.1  # the last part of a run; the final value is the mean over it


def final(run: Run, metric: Metric, until: float | None = None) -> float:
    """Return the mean of the metric over the last tenth of the run.

    With `until`, a data-time on the scale of `end`, the run counts as if it had ended there. If no
    row was due in the last tenth, returns the last value before it, and NaN if there is none. For a
    diverged run, returns the worst value of the metric.
    """
    if run.status == DIVERGED:
        return metric.worst
    at_N, values_N = _known(run, metric)
    until = end(run) if until is None else until
    seen_N = at_N <= until
    late_N = seen_N & (at_N > (1 - LATE) * until)
    if late_N.any():
        return float(values_N[late_N].mean())
    return float(values_N[seen_N][-1]) if seen_N.any() else np.nan


def overall(run: Run, metric: Metric) -> float:
    """Return the mean of the metric over the whole run; the worst value if the run diverged."""
    if run.status == DIVERGED:
        return metric.worst
    _, values_N = _known(run, metric)
    return float(values_N.mean()) if len(values_N) else np.nan


def end(run: Run) -> float:
    """Return Run.end, or the number of rows if the configuration lacks when rows are due."""
    return float(len(run.metrics)) if run.due() is None else run.end


def due(run: Run, every: Every = "log_every") -> Array:
    """Return Run.due, or 1, 2, 3, … if the configuration lacks when rows are due."""
    at_N = run.due(every)
    return np.arange(1.0, len(run.metrics) + 1) if at_N is None else at_N


def _known(run: Run, metric: Metric) -> tuple[Array, Array]:
    """Return the data-times at which values were due, and at each the last recorded value."""
    values_N = np.array(run.columns.get(metric.key, []), float)
    known_N = np.isfinite(values_N)
    if not known_N.any():
        return np.empty(0), np.empty(0)
    due_N = due(run, metric.every)
    at_N, values_N = due_N[known_N], values_N[known_N]
    newest_N = np.append(at_N[1:] > at_N[:-1], True)
    at_N, values_N = at_N[newest_N], values_N[newest_N]
    every = run.config.get("train", {}).get(metric.every)
    if metric.holds and every is not None:
        grid_W = np.arange(at_N[0], due_N[-1] + every / 2, every)
        return grid_W, carried(at_N, values_N, grid_W)
    return at_N, values_N
