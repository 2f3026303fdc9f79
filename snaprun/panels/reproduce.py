"""From a panel to its folder: learning rates, fresh seeds, tables and figures."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snaprun import figures
from snaprun.panels import paired, report, tables
from snaprun.panels.choice import choose
from snaprun.panels.panel import Panel
from snaprun.panels.plan import Job, Planner
from snaprun.panels.pool import run
from snaprun.store import DIVERGED
from snaprun.store.panel import PanelFiles


def reproduce(planner: Planner, results: Path, at_once: int) -> tuple[list[Path], list[Job]]:
    """Run what is not done of a panel, and write its folder under `results`.

    `at_once` runs go side by side. Returns the written files and the failed jobs; raises UserError
    and Stopped.
    """
    panel, name = planner.panel, planner.name
    planner.check()
    selection = planner.selection()
    failed = run(selection, at_once, f"{name}: learning rates")
    runs = {job: tables.read(job, panel.metric) for job in selection if job not in failed}
    choice = choose(panel, runs)
    compared = planner.final(choice.rates)
    failed += run(compared, at_once, f"{name}: fresh seeds")
    runs |= {job: tables.read(job, panel.metric) for job in compared if job not in failed}
    for job in runs:
        if runs[job].status == DIVERGED:
            print(f"diverged: {job}", file=sys.stderr)
    arms = tables.by_arm(runs)
    if not arms:
        return [], failed

    summary = tables.summary([*selection, *compared], runs, panel.metric)
    files = PanelFiles(
        {
            "panel": panel.name,
            "budget": planner.budget,
            "claims": panel.claims,
            "metric": panel.metric.key,
            "arms": _arms(panel, compared),
        },
        summary,
        tables.curves(runs, panel.metric),
        paired.table(arms, panel.metric),
        report.readme(panel, planner.budget, choice, summary, arms, failed),
    )
    folder = results / name
    written = files.write(folder)
    kinds = figures.KINDS
    return [*written, *figures.plot([folder], folder / "figures", kinds, incomplete=False)], failed


def _arms(panel: Panel, compared: Sequence[Job]) -> dict[str, dict[str, Any]]:
    """Each arm's overrides, learning rate and configuration, without what differs by seed."""
    apart = ("seed", "name", "results", "tensorboard", "restart")
    return {
        job.arm: {
            "overrides": list(panel.arms[job.arm]),
            "lr": job.lr,
            "config": {key: value for key, value in job.config.items() if key not in apart},
        }
        for job in compared
    }
