"""Runs and jobs made up for the panels, in memory."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from snaprun.store import Run, Summary
from snaprun.store.parse import as_columns
from snaprun.studies.plan import PlannedRun


def run(*rows: tuple[int, int, float | None], status: str = "finished", key: str = "level") -> Run:
    """A run with these (tokens, updates, metric)."""
    metrics = pd.DataFrame(rows, columns=["tokens", "updates", key]).assign(seconds=1.5)
    tokens, updates, _ = rows[-1]
    return Run(Path("run"), {}, as_columns(metrics), Summary(status, tokens, updates, 1.5, {}, {}))


def flat(value: float, status: str = "finished") -> Run:
    """A run that reached `value` at once."""
    return run((10, 10, value), (100, 100, value), status=status)


def job(
    arm: str, lr: float = 0.1, seed: int = 100, phase: str = "selection", tokens: int = 100
) -> PlannedRun:
    """A job whose run lies nowhere."""
    return PlannedRun(
        arm, phase, seed, lr, (), {"train": {"tokens": tokens}}, Path(f"{arm}-{lr}-{seed}")
    )


def jobs(arm: str, rates: Sequence[float]) -> list[PlannedRun]:
    """A selection job a rate."""
    return [job(arm, lr) for lr in rates]
