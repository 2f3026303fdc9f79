"""Runs made up for the figures, written through the store's own writer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from snaprun.store import RunWriter, Summary
from snaprun.store.panel import write_runs

RULES: dict[str, dict[str, Any]] = {
    "bptt": {"name": "bptt"},
    "rtrl": {"name": "rtrl"},
    "snap1": {"name": "snap", "n": 1},
    "snap2": {"name": "snap", "n": 2},
    "uoro": {"name": "uoro"},
    "rflo": {"name": "rflo", "feedback": "readout"},
    "frozen": {"name": "frozen"},
}


def config(rule: str = "snap1", seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A resolved configuration; `changes` are keyed `optim__lr` for optim.lr."""
    made: dict[str, Any] = {
        "task": {"name": "copy", "fixed_length": None},
        "cell": {"name": "gru", "units": 24},
        "sparsity": {"name": "uniform", "level": 0.75, "share_slots": False},
        "rule": dict(RULES[rule]),
        "optim": {"name": "adam", "lr": 0.001},
        "train": {"update_every": "sequence" if rule == "bptt" else 1, "log_every": 1},
        "seed": seed,
        "name": "made-up",
        "results": "results",
        "tensorboard": False,
    }
    for key, value in changes.items():
        *groups, last = key.split("__")
        place = made
        for group in groups:
            place = place[group]
        place[last] = value
    return made


def write(
    folder: Path,
    made: dict[str, Any],
    rows: Sequence[tuple[int, dict[str, float | None]]],
    status: str | None = "finished",
    per_token: float = 1.0,
    **cost: float,
) -> Path:
    """A run with these (tokens, values), and updates per token; no status: it is incomplete."""
    with RunWriter(folder, made) as writer:
        writer.begin()
        for tokens, values in rows:
            writer.row(tokens=tokens, updates=int(per_token * tokens), seconds=0.1, **values)
        if status:
            cost = {"ms_per_token": 0.5, "macs_per_token": 1000, "state_bytes": 64} | cost
            tokens, values = rows[-1]
            updates = int(per_token * tokens)
            writer.finish(Summary(status, tokens, updates, 0.1, values, cost))
    return folder


def levels(*pairs: tuple[int, int]) -> list[tuple[int, dict[str, float | None]]]:
    """Rows of the copy task from pairs of tokens and L."""
    return [(tokens, {"bpc": 0.5, "level": level}) for tokens, level in pairs]


def write_panel(folder: Path, arms: dict[str, dict[str, Any]], seeds: int = 1) -> None:
    """The tables of a panel whose arms reach a level of two at 20 tokens."""
    rows = [
        {"arm": arm, "phase": "final", "seed": seed, "lr": made["lr"], "status": "finished"}
        for arm, made in arms.items()
        for seed in range(seeds)
    ]
    points = [
        {"arm": row["arm"], "seed": row["seed"], "tokens": at, "updates": at, "level": at // 10}
        for row in rows
        for at in (10, 20)
    ]
    summary = pd.DataFrame(rows).assign(tokens=20, updates=20, seconds=0.5, final=2)
    write_runs(folder, {"metric": "level", "arms": arms}, summary, pd.DataFrame(points))
