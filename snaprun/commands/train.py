"""snaprun train: one run into its folder.

torch is imported where there is something to train: whoever launches a finished run again does not
wait for it.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from snaprun import config
from snaprun.metrics import AVERAGE, known
from snaprun.outcome import Outcome, Status
from snaprun.store import DIVERGED, Summary, read_config, read_intact, require_own, set_aside
from snaprun.terminal import say

if TYPE_CHECKING:
    from snaprun.train.loop import Probe
    from snaprun.train.run import Parts


@dataclass(frozen=True)
class Keys:
    """The whole configuration of conf/train.yaml, of which a run's folder keeps a copy."""

    plain: Mapping[str, Any]
    sweep: bool  # the run is a job of a sweep

    @classmethod
    def of(cls, plain: Mapping[str, Any], sweep: bool) -> Self:
        """The keys of a configuration."""
        return cls(plain, sweep)


def run(keys: Keys) -> Outcome:
    """Train one run, go on with one that was broken off, or say that it is already there."""
    return launch(keys, config.run_folder(keys.plain), keys.plain)


def launch(
    keys: Keys,
    folder: Path,
    written: Mapping[str, Any],
    probe: "Callable[[Parts], Probe] | None" = None,
) -> Outcome:
    """Train the run of `keys` in `folder`, with `written` as the configuration that is kept."""
    plain = keys.plain
    if plain.get("dry"):
        from snaprun.train.dry import rehearse

        parts = config.parts(plain)
        return Outcome(report=f"{folder}\n{rehearse(parts, probe and probe(parts))}")
    summary, unread = None, []
    if not plain["restart"]:
        require_own(folder)
        summary = read_intact(folder)
    if summary is not None and any(name.endswith("_sha256") for name in summary.extras):
        from snaprun.tasks.text import require_same

        unread = require_same(folder, summary.extras)
    if summary is not None and summary.complete(config.options(plain).tokens):
        config.require_named(folder, read_config(folder))
        status = Status.SKIPPED
        report = f"{folder}: {summary.status} already, at {summary.tokens} tokens; skipped"
        report += "".join(f"\n  {text} cannot be read, so it was not compared" for text in unread)
    else:
        from snaprun.train.run import run

        parts = config.parts(plain)
        if plain["restart"] and os.path.lexists(folder):
            say(f"{folder}: what was there is now {set_aside(folder)}")
        summary = run(
            parts,
            folder,
            written,
            tensorboard=plain["tensorboard"],
            bar=not keys.sweep,
            probe=probe and probe(parts),
        )
        status, report = Status.DONE, _report(folder, summary)
    if summary.status != DIVERGED:
        return Outcome(status, report)
    # A summary of snaprun 0.1.0 knows of one way only.
    how = summary.extras.get("diverged_because", "the loss became non-finite at")
    token, lr = summary.extras.get("diverged_at_token"), plain["optim"]["lr"]
    problem = f"{how} token {token} with optim.lr={lr}; the metrics are kept. Try a smaller "
    problem += "optim.lr, or optim.clip=1."
    return Outcome(Status.DIVERGED, report, problem)


def _report(folder: Path, summary: Summary) -> str:
    """The end of a run in a few lines: what it reached, what it cost, where it lies."""
    # What a task is about comes before its losses, of which less is better.
    losses = {metric.key for metric in known(summary.declared).values() if metric.better < 0}
    losses |= {key + AVERAGE for key in losses}
    losses_last = sorted(summary.metrics.items(), key=lambda item: item[0] in losses)
    reached = ", ".join(f"{name} {value:.4g}" for name, value in losses_last)
    parameters, cost = summary.extras["parameters"], summary.cost
    return (
        f"{summary.status}: {reached} after {summary.tokens} tokens, {summary.updates} updates, "
        f"{summary.seconds:.1f} s\n"
        f"  {parameters['recurrent']} recurrent and {parameters['readout']} readout parameters; "
        f"{cost['ms_per_token']:.3g} ms and {cost['macs_per_token']:,} multiply-adds a token; "
        f"rule state {cost['state_bytes']:,} bytes\n"
        f"  {folder}"
    )
