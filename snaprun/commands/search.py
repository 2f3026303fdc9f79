"""snaprun search looks for the best values of some keys; here is what one trial does.

The trials are drawn by hydra_plugins.snaprun_sweeper and run by the launchers of sweeps.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from snaprun import config
from snaprun.checks import Pruned
from snaprun.commands import train
from snaprun.outcome import Outcome, Score, Status
from snaprun.store import RUNNING, read_summary, state

_log = logging.getLogger(__name__)


def run(plain: Mapping[str, Any], sweep: bool) -> Outcome:
    """Train the run of one trial, which a search may end early."""
    options, trained = config.search(plain), config.of_run(plain)
    folder = config.run_folder(trained)
    if options.folder is None or options.trial is None:
        return train.launch(trained, sweep, folder, trained)
    from snaprun.search.reports import Reports

    length = config.options(plain)
    last = length.tokens // length.eval_every
    reports = Reports(Path(options.folder), options.trial, options.pruner, last)
    pruned = Outcome(Status.PRUNED, report=f"pruned; its checkpoint is kept\n  {folder}")
    if reports.pruned:  # by a launch that was killed before it could say so
        return pruned
    _wait_for_its_writer(folder)
    try:
        outcome = train.launch(trained, sweep, folder, trained, report=reports)
    except Pruned:
        return pruned
    summary, metric = read_summary(folder), reports.metric
    if outcome.status is Status.DIVERGED or summary is None:
        return replace(outcome, score=None)
    if (value := summary.metrics.get(metric.key)) is None:
        problem = f"the run has no {metric.key}, by which search.metric judges it"
        return replace(outcome, status=Status.FAILED, problem=problem, score=None)
    return replace(outcome, score=Score(metric.key, value, metric.better))


def _wait_for_its_writer(folder: Path) -> None:
    """Wait for a process that writes the run, as a worker of a killed launch may do."""
    if state(folder) == RUNNING:
        _log.warning("%s: another process writes this run; the trial waits for it.", folder)
    while state(folder) == RUNNING:
        time.sleep(0.1)
