"""snaprun train trains one run and writes it to its folder.

torch is imported only if there is something to train, so launching a finished run again is quick.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snaprun import config
from snaprun.metrics import judged_by, losses_last
from snaprun.outcome import Outcome, Score, Status
from snaprun.store import DIVERGED, Summary, read_config, read_intact, require_own, set_aside
from snaprun.store.extent import PATIENCE, TIME
from snaprun.terminal import say

if TYPE_CHECKING:
    from snaprun.run.loop import Probe, Report
    from snaprun.run.parts import Parts


def run(plain: Mapping[str, Any], sweep: bool) -> Outcome:
    """Train one run, resume an interrupted run, or report that the run is complete."""
    return launch(plain, sweep, config.run_folder(plain), plain)


def launch(
    plain: Mapping[str, Any],
    sweep: bool,
    folder: Path,
    written: Mapping[str, Any],
    probe: "Callable[[Parts], Probe] | None" = None,
    report: "Report | None" = None,
) -> Outcome:
    """Train the run of `plain` in `folder` and write `written` there as its configuration.

    Raises Pruned if `report`, which hears of every validation, ends the run.
    """
    if plain.get("dry"):
        from snaprun.run.dry import rehearse

        config.trackers(plain)
        parts = config.parts(plain)
        return Outcome(report=f"{folder}\n{rehearse(parts, probe and probe(parts))}")
    summary, unread = None, []
    if not plain["restart"]:
        require_own(folder)
        summary = read_intact(folder)
    if summary is not None and any(name.endswith("_sha256") for name in summary.extras):
        from snaprun.tasks import TASKS, Task
        from snaprun.tasks.unchanged import require_same

        task = plain["task"]
        unread = require_same(TASKS.get(task["name"], Task), task, folder, summary.extras)
    if summary is not None and summary.complete(config.options(plain).extent):
        config.require_named(folder, read_config(folder))
        status = Status.SKIPPED
        said = f"{summary.status} already{_cause(summary)}, at {summary.tokens} tokens"
        said = f"{folder}: {said}; skipped"
        said += "".join(f"\n  {text} cannot be read, so it was not compared" for text in unread)
    else:
        from snaprun.run.launch import run

        trackers = config.trackers(plain)
        parts = config.parts(plain)
        if plain["restart"] and os.path.lexists(folder):
            say(f"{folder}: what was there is now {set_aside(folder)}")
        summary = run(
            parts,
            folder,
            written,
            bar=not sweep,
            trackers=trackers,
            probe=probe and probe(parts),
            report=report,
        )
        status, said = Status.DONE, _report(folder, summary)
    if summary.status != DIVERGED:
        return Outcome(status, said, score=_score(summary))
    # A summary of snaprun 0.1.0 knows only one way to diverge and does not name it.
    how = summary.extras.get("diverged_because", "the loss became non-finite at")
    token, lr = summary.extras.get("diverged_at_token"), plain["optim"]["lr"]
    problem = f"{how} token {token} with optim.lr={lr}; the metrics are kept. Try a smaller "
    problem += "optim.lr, or optim.clip=1."
    return Outcome(Status.DIVERGED, said, problem)


def _score(summary: Summary) -> Score | None:
    """Return the last value of the metric by which networks are judged, or else of the first."""
    found, declared = summary.metrics, summary.declared
    metric = judged_by(declared, found) or next((m for m in declared if m.key in found), None)
    if metric is None or (value := found[metric.key]) is None:
        return None
    return Score(metric.key, value, metric.better)


def _cause(summary: Summary) -> str:
    """Return in words what has ended a run before it had all its tokens, or ""."""
    ended = summary.extras.get("ended_by")
    return f" by train.{ended}" if ended in (TIME, PATIENCE) else ""


def _report(folder: Path, summary: Summary) -> str:
    """Describe a finished run in a few lines: its metrics, its cost and its folder."""
    values = losses_last(summary.metrics, summary.declared)
    reached = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    parameters, cost = summary.extras["parameters"], summary.cost
    counted = " and ".join(f"{count} {part}" for part, count in parameters.items())
    return (
        f"{summary.status}{_cause(summary)}: {reached} after {summary.tokens} tokens, "
        f"{summary.updates} updates, {summary.seconds:.1f} s\n"
        f"  {counted} parameters; "
        f"{cost['ms_per_token']:.3g} ms and {cost['macs_per_token']:,} multiply-adds a token; "
        f"rule state {cost['state_bytes']:,} bytes\n"
        f"  {folder}"
    )
