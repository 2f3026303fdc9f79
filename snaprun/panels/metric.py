"""The number that a run is judged by: a metric late in training.

Rows are taken by the window in which they were due, not by the tokens that they carry: a batch
ends where its sequences end, some tokens after the window, and these differ between runs.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from snaprun.figures.stats import Array, carried
from snaprun.store import DIVERGED, Run

LATE = 0.1  # of a run: its last part, over which the final value is the mean


@dataclass(frozen=True)
class Metric:
    """A column of the metrics, which way is better, and what a diverged run is taken to reach."""

    key: str
    better: Literal[1, -1]  # larger or smaller
    worst: float
    holds: bool = False  # from its row until it changes, so that every window has a value
    beside: tuple[str, ...] = ()  # metrics that are compared, too
    shown: tuple[str, ...] = ()  # other columns that figures draw

    @property
    def columns(self) -> tuple[str, ...]:
        """What is kept of a run that is judged by this metric."""
        return (*self.shown, self.key, *self.beside)


METRICS = {
    metric.key: metric
    for metric in (
        Metric("level", 1, 0, holds=True, beside=("mastered", "mastered_average")),
        Metric("mastered", 1, 0),
        Metric("mastered_average", 1, 0),
        Metric("bpc", -1, 8),  # what guessing a byte costs
        Metric("validation_bpc", -1, 8, shown=("bpc",)),
    )
}


def final(run: Run, metric: Metric, end: float | None = None) -> float:
    """The mean of the metric over the last tenth of the windows, or of those up to `end`.

    `end` is a place of `places`. Where no value lies in that tenth it is the last one before it;
    NaN where there is none. A diverged run counts as worst.
    """
    if run.status == DIVERGED:
        return metric.worst
    at_N, values_N = _known(run, metric)
    end = float(places(run)[-1]) if end is None else end
    seen_N = at_N <= end
    late_N = seen_N & (at_N > (1 - LATE) * end)
    if late_N.any():
        return float(values_N[late_N].mean())
    return float(values_N[seen_N][-1]) if seen_N.any() else np.nan


def overall(run: Run, metric: Metric) -> float:
    """The mean of the metric over the whole run; a diverged run counts as worst."""
    if run.status == DIVERGED:
        return metric.worst
    _, values_N = _known(run, metric)
    return float(values_N.mean()) if len(values_N) else np.nan


def places(run: Run) -> Array:
    """When each row was due (N,): the data-time at which its log window ended.

    That of the run's last row is at most `train.tokens`. Without the keys of `train` windows are
    counted, a row each.
    """
    train = run.config.get("train", {})
    if "log_every" not in train:
        return np.arange(1.0, len(run.metrics) + 1)
    every, tokens_N = train["log_every"], run.metrics["tokens"].to_numpy(float)
    return np.minimum(tokens_N, train.get("tokens", np.inf)) // every * every


def _known(run: Run, metric: Metric) -> tuple[Array, Array]:
    """The places that have a value, and their values; of several in a place the last."""
    if metric.key not in run.metrics:
        return np.empty(0), np.empty(0)
    place_N, values_N = places(run), run.metrics[metric.key].to_numpy(float)
    known_N = np.isfinite(values_N)
    if not known_N.any():
        return np.empty(0), np.empty(0)
    at_N, values_N = place_N[known_N], values_N[known_N]
    final_N = np.append(at_N[1:] > at_N[:-1], True)
    at_N, values_N = at_N[final_N], values_N[final_N]
    every = run.config.get("train", {}).get("log_every")
    if metric.holds and every is not None:
        grid_W = np.arange(at_N[0], place_N[-1] + every / 2, every)
        return grid_W, carried(at_N, values_N, grid_W)
    return at_N, values_N
