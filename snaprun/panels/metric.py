"""The number that a run is judged by: a metric late in training."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from snaprun.store import DIVERGED, Run

LATE = 0.1  # of a run: its last part, over which the final value is the mean


@dataclass(frozen=True)
class Metric:
    """A column of the metrics, which way is better, and what a diverged run is taken to reach."""

    key: str
    better: Literal[1, -1]  # larger or smaller
    worst: float


METRICS = {
    metric.key: metric
    for metric in (
        Metric("level", 1, 0),
        Metric("bpc", -1, 8),  # what guessing a byte costs
        Metric("validation_bpc", -1, 8),
    )
}


def final(
    run: Run,
    metric: Metric,
    counter: Literal["tokens", "updates"] = "tokens",
    end: float | None = None,
) -> float:
    """The mean of the metric over the last tenth of the run, or of its part up to `end`.

    Where no row lies in that tenth it is the last value before it; NaN where there is none. A
    diverged run counts as worst.
    """
    if run.status == DIVERGED:
        return metric.worst
    at_N, values_N = _known(run, metric, counter)
    end = float(run.metrics[counter].iloc[-1]) if end is None else end
    seen_N = at_N <= end
    late_N = seen_N & (at_N > (1 - LATE) * end)
    if late_N.any():
        return float(values_N[late_N].mean())
    return float(values_N[seen_N][-1]) if seen_N.any() else np.nan


def overall(run: Run, metric: Metric) -> float:
    """The mean of the metric over the whole run; a diverged run counts as worst."""
    if run.status == DIVERGED:
        return metric.worst
    _, values_N = _known(run, metric, "tokens")
    return float(values_N.mean()) if len(values_N) else np.nan


def _known(run: Run, metric: Metric, counter: str) -> tuple[np.ndarray, np.ndarray]:
    rows = run.metrics
    if metric.key not in rows:
        return np.empty(0), np.empty(0)
    values_N = rows[metric.key].to_numpy(float)
    known_N = np.isfinite(values_N)
    return rows[counter].to_numpy(float)[known_N], values_N[known_N]
