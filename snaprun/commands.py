"""What each command does with its resolved configuration, a plain nested dict.

Each takes the configuration and whether it is a job of a sweep, and returns an exit code. torch
is imported only where it is needed, so that --help and completion stay quick.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from snaprun import checks, config

FAILED = 1


def train(plain: dict[str, Any], sweep: bool) -> int:
    """Train one run, or say that it is already there."""
    folder = config.run_folder(plain)
    from snaprun.store import DIVERGED, read_summary

    summary = read_summary(folder)
    if summary is not None:
        print(f"{folder}: {summary.status} already, at {summary.tokens} tokens; skipped")
    else:
        from snaprun.train.run import run

        summary = run(
            config.parts(plain), folder, plain, tensorboard=plain["tensorboard"], bar=not sweep
        )
        print(report(folder, summary))
    if summary.status != DIVERGED:
        return 0
    token, lr = summary.extras.get("diverged_at_token"), plain["optim"]["lr"]
    print(
        f"snaprun: the loss became non-finite at token {token} with optim.lr={lr}; the metrics "
        f"up to there are in {folder}. Try a smaller optim.lr or set optim.clip=1.",
        file=sys.stderr,
    )
    return FAILED


def report(folder: Path, summary: Any) -> str:
    """The end of a run in a few lines: what it reached, what it cost, where it lies."""
    reached = ", ".join(f"{name} {value:.4g}" for name, value in summary.metrics.items())
    parameters, cost = summary.extras["parameters"], summary.cost
    return (
        f"{summary.status}: {reached} after {summary.tokens} tokens, {summary.updates} updates, "
        f"{summary.seconds:.1f} s\n"
        f"  {parameters['recurrent']} recurrent and {parameters['readout']} readout parameters; "
        f"{cost['ms_per_token']:.3g} ms and {cost['macs_per_token']:.3g} multiply-adds a token; "
        f"rule state {cost['state_bytes'] / 1e6:.3g} MB\n"
        f"  {folder}"
    )


COMMANDS: Mapping[str, Callable[[dict[str, Any], bool], int]] = {"train": train}
