"""Makes a panel's folder: chooses learning rates, runs fresh seeds, writes tables and figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from snaprun import figures
from snaprun.checks import refuse
from snaprun.identity import without_whereabouts
from snaprun.metrics import BUILT_IN
from snaprun.store import DIVERGED, declared
from snaprun.store.panel import (
    is_panel,
    read_arms,
    read_rates,
    read_summaries,
    write_derived,
    write_runs,
)
from snaprun.studies import paired, report, tables
from snaprun.studies.panel import Panel
from snaprun.studies.plan import SELECTION, PlannedRun, Planner
from snaprun.studies.pool import run
from snaprun.studies.rates import choose_rates
from snaprun.terminal import note


def reproduce(
    planner: Planner, results: Path, at_once: int, choose: bool = True
) -> tuple[list[Path], list[PlannedRun]]:
    """Make the runs of a panel that are not done, and write the panel's folder under `results`.

    `at_once` runs go side by side. If `choose` is false, the learning rates and the rows of the
    runs that chose them are read from the existing folder. Returns the written files and the
    failed jobs. Raises UserError, and Stopped after a signal.
    """
    panel, folder = planner.panel, results / planner.name
    planner.check()
    rates = None if choose else _chosen(planner, folder)
    selection = planner.selection() if rates is None else []
    failed = run(selection, at_once, f"{planner.name}: learning rates")
    runs = {job: tables.read(job, panel.metric) for job in selection if job not in failed}
    compared = planner.final(choose_rates(panel, runs) if rates is None else rates)
    failed += run(compared, at_once, f"{planner.name}: fresh seeds")
    runs |= {job: tables.read(job, panel.metric) for job in compared if job not in failed}
    for job in runs:
        if runs[job].status == DIVERGED:
            note(f"diverged: {job}")
    if not any(job in runs for job in compared):
        return [], failed

    summary = tables.summary([*selection, *compared], runs, panel.metric)
    if rates is not None:
        before = read_summaries(folder)
        summary = pd.concat([before.loc[before["phase"] == SELECTION], summary])
    recorded = {
        "panel": panel.name,
        "budget": planner.budget,
        "claims": panel.claims,
        "metric": panel.metric.key,
        "arms": _arms(panel, compared),
    }
    known = declared(runs.values()) | {panel.metric.key: panel.metric}
    kept = [known[key] for key in panel.metric.columns if key in known]
    if own := [metric.to_json() for metric in kept if metric != BUILT_IN.get(metric.key)]:
        recorded["declared"] = own
    written = write_runs(folder, recorded, summary, tables.curves(runs, panel.metric))
    return [*written, *derive(planner, results)], failed


def derive(planner: Planner, results: Path) -> list[Path]:
    """Write the tests, the README and the figures of a panel's folder; return the files.

    They follow from panel.yaml, summary.csv and curves.csv alone. Raises UserError if the folder
    lacks these.
    """
    panel, folder = planner.panel, _folder(planner, results / planner.name)
    arms, summary, rates = read_arms(folder), read_summaries(folder), read_rates(folder)
    readme = report.readme(panel, planner.budget, rates, summary, arms)
    written = write_derived(folder, paired.compare(arms, panel.metric, panel.planned), readme)
    drawn = figures.plot([folder], folder / "figures", figures.KINDS, incomplete=False)
    return [*written, *drawn]


def _chosen(planner: Planner, folder: Path) -> dict[str, float]:
    """Read the learning rates that the panel's folder records."""
    rates = read_rates(_folder(planner, folder))
    if without := [arm for arm in planner.panel.arms if arm not in rates]:
        remedy = "With choose=true the runs that choose it are made."
        refuse("choose", False, f"a learning rate of {', '.join(without)} in {folder}", remedy)
    return {arm: rates[arm] for arm in planner.panel.arms}


def _folder(planner: Planner, folder: Path) -> Path:
    if not is_panel(folder):
        remedy = "Run the panel first: snaprun reproduce panel=" + planner.panel.name
        refuse("results", str(folder.parent), f"a folder with the tables of {folder.name}", remedy)
    return folder


def _arms(panel: Panel, compared: Sequence[PlannedRun]) -> dict[str, dict[str, Any]]:
    """Return each arm's overrides, learning rate and configuration without per-seed keys."""
    return {
        job.arm: {
            "overrides": list(panel.arms[job.arm]),
            "lr": job.lr,
            "config": {
                key: value
                for key, value in without_whereabouts(job.config).items()
                if key != "seed"
            },
        }
        for job in compared
    }
