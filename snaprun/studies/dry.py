"""The runs of a panel that are not done yet, and how long they will take."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from snaprun.store import read_summary
from snaprun.store.panel import read_speeds
from snaprun.studies import tables
from snaprun.studies.plan import PlannedRun, Planner
from snaprun.studies.rates import choose_rates


@dataclass(frozen=True)
class Left:
    """The runs of a panel that can start now, all that are not done, and their estimated time."""

    now: list[PlannedRun]
    all: list[PlannedRun]
    hours: float  # of one core, over the jobs of arms that have run before
    unknown: list[str]  # the arms that have never run

    def __str__(self) -> str:
        if not self.all:
            return "nothing is left"
        known = f"about {self.hours:.3g} hours of one core" if self.hours else "of unknown length"
        but = f", without {', '.join(self.unknown)}" if self.hours and self.unknown else ""
        return f"{len(self.all)} runs are left, {known}{but}"


def left(planner: Planner, results: Path) -> Left:
    """List the runs that `reproduce` would make and estimate their time.

    The seconds per token come from the runs that choose the learning rates; before any of these
    is done, they come from the folder of the panel's small budget.
    """
    planner.check()
    selection = planner.selection()
    now = [job for job in selection if not job.done]
    if now:  # no rates are chosen yet; any will do, for a run takes as long with each
        rates = {arm: grid[0] for arm, grid in planner.panel.rates.items()}
        every = now + [job for job in planner.final(rates) if not job.done]
    else:
        runs = {job: tables.read(job, planner.panel.metric) for job in selection}
        rates = choose_rates(planner.panel, runs)
        now = every = [job for job in planner.final(rates) if not job.done]
    speeds = read_speeds(results / planner.panel.name) | _speeds(selection)
    seconds = [job.tokens * speeds[job.arm] for job in every if job.arm in speeds]
    unknown = [arm for arm in planner.panel.arms if arm not in speeds]
    return Left(now, every, sum(seconds) / 3600, unknown)


def _speeds(jobs: Sequence[PlannedRun]) -> dict[str, float]:
    """Return the seconds per token of each arm: the median over the jobs that are done."""
    found: dict[str, list[float]] = defaultdict(list)
    for job in jobs:
        if (summary := read_summary(job.folder)) is not None:
            found[job.arm].append(summary.seconds / summary.tokens)
    return {arm: median(values) for arm, values in found.items()}
