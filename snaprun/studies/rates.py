"""Choosing each arm's learning rate from its selection runs."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from snaprun.metrics import Metric
from snaprun.store import DIVERGED, Run
from snaprun.studies.metric import final, overall
from snaprun.studies.panel import Panel
from snaprun.studies.plan import PlannedRun


def choose_rates(panel: Panel, runs: Mapping[PlannedRun, Run]) -> dict[str, float]:
    """Choose for each arm the learning rate with the best final metric.

    Ties go to the rate with the better mean over the whole run, then to the smaller rate, which is
    the safer one in longer runs. All values are means over the selection seeds. A rate that
    diverged on a seed is not chosen; an arm for which every rate did is left out of the result.
    """
    found: dict[str, dict[float, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for job, run in runs.items():
        found[job.arm][job.lr].append(run)
    rates: dict[str, float] = {}
    for arm, grid in panel.rates.items():
        if len(grid) == 1:
            rates[arm] = grid[0]
            continue
        finished = {
            lr: of_rate
            for lr, of_rate in found[arm].items()
            if all(run.status != DIVERGED for run in of_rate)
        }
        if finished:
            rates[arm] = max(finished, key=lambda lr: (*_score(finished[lr], panel.metric), -lr))
    return rates


def _score(runs: Sequence[Run], metric: Metric) -> tuple[float, ...]:
    """Return the scores of runs, larger is better; minus infinity if there is no value."""
    # fmean rounds once, so that the order of the seeds cannot break a tie.
    scores = [
        metric.better * fmean(measure(run, metric) for run in runs) for measure in (final, overall)
    ]
    return tuple(score if math.isfinite(score) else -math.inf for score in scores)
