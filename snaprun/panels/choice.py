"""Choosing each arm's learning rate from its selection runs."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from snaprun.panels.metric import Metric, final, overall
from snaprun.panels.panel import Panel
from snaprun.panels.plan import Job
from snaprun.store import DIVERGED, Run


@dataclass(frozen=True)
class Choice:
    """The learning rates of the arms that have one, and what to know about them."""

    rates: dict[str, float]
    at_edge: list[str]  # arms whose best rate is the grid's smallest or largest
    without: list[str]  # arms of which no selection run finished


def choose(panel: Panel, runs: Mapping[Job, Run]) -> Choice:
    """Per arm the rate with the best final metric, of equals the best mean over the whole run.

    Where both are equal it is the smaller rate, the safer one in longer runs. Means are over the
    selection seeds; a rate that diverged on one of them is left out.
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
    return Choice(
        rates,
        [
            arm
            for arm, lr in rates.items()
            if len(panel.rates[arm]) > 1 and lr in (min(panel.rates[arm]), max(panel.rates[arm]))
        ],
        [arm for arm in panel.arms if arm not in rates],
    )


def _score(runs: Sequence[Run], metric: Metric) -> tuple[float, ...]:
    """The larger the better; without any value it is the worst."""
    # fmean rounds once: the order of the seeds must not tell equals apart.
    scores = [
        metric.better * fmean(measure(run, metric) for run in runs) for measure in (final, overall)
    ]
    return tuple(score if math.isfinite(score) else -math.inf for score in scores)
