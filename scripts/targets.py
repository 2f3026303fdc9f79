"""Judges the C++ core, by the tables of a `snaprun bench`, against what its developers want.

.venv/bin/python scripts/targets.py [FOLDER]    the folder of the tables: results/bench/figures
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from snaprun.bench.available import NATIVE
from snaprun.bench.problem import CHARACTERS, COPY
from snaprun.figures.words import SNAP1_OVER_BPTT

FOLDER = Path(__file__).parents[1] / "results" / "bench" / "figures"
COLUMNS = ("what", "must", "goal", "measured", "verdict")
GRU128, GRU256 = "gru-128@0.75", "gru-256@0.9375"


@dataclass(frozen=True)
class Target:
    """A bound on one column of one table; if several rows match, the worst one counts."""

    what: str
    must: float
    goal: float
    table: Literal["kernel", "ratios"]
    column: str
    rows: Mapping[str, object]  # column: value, or a tuple of the values that must all be there
    lower: bool = False  # smaller is better

    def measured(self, tables: Mapping[str, pd.DataFrame]) -> float | None:
        """Return the worst value; None if a row is missing."""
        found = tables.get(self.table)
        if found is None or found.empty:
            return None
        for column, wanted in self.rows.items():
            values = wanted if isinstance(wanted, tuple) else (wanted,)
            found = found.loc[found[column].isin(values)]
            if set(found[column]) != set(values):
                return None
        worst = found[self.column].max() if self.lower else found[self.column].min()
        return None if pd.isna(worst) else float(worst)

    def verdict(self, measured: float | None) -> str:
        """Return `goal met`, `met`, `not met` or `not measured`."""
        if measured is None:
            return "not measured"
        sign = -1 if self.lower else 1
        if sign * measured >= sign * self.goal:
            return "goal met"
        return "met" if sign * measured >= sign * self.must else "not met"


def _roofline(network: str, lanes: int, must: float, goal: float) -> Target:
    rows = {"network": network, "lanes": lanes, "n": 2, "backend": NATIVE}
    what = f"fraction of roofline, {network}, n=2, {lanes} lane{'s' * (lanes > 1)}"
    return Target(what, must, goal, "kernel", "fraction", rows)


def _ratio(
    text: str, must: float, goal: float, what: str, lower: bool = False, **rows: object
) -> Target:
    rows = {"engine": NATIVE, "what": what, **rows}
    return Target(text, must, goal, "ratios", "ratio", rows, lower)


TARGETS = (
    _roofline(GRU128, 16, 0.55, 0.8),
    _roofline("vanilla-256@0.75", 16, 0.55, 0.8),
    _roofline(GRU256, 16, 0.4, 0.65),
    _roofline("gru-512@0.984375", 16, 0.4, 0.65),
    _roofline("lstm-256@0.9375", 16, 0.4, 0.65),
    _roofline(GRU256, 1, 0.25, 0.5),
    *(
        _ratio(
            f"nn.GRU T=1 over SnAp-1, {GRU128}, {lanes} lane{'s' * (lanes > 1)}",
            must,
            goal,
            what="nn.GRU T=1 / SnAp-1",
            network=GRU128,
            task=COPY,
            lanes=lanes,
        )
        for lanes, must, goal in ((16, 6, 12), (1, 10, 30))
    ),
    *(
        _ratio(
            f"SnAp-1 over BPTT, both once in 128 steps, {task}",
            1.2,
            1.0,
            lower=True,
            what=SNAP1_OVER_BPTT,
            network=GRU128,
            task=task,
            lanes=16,
        )
        for task in (COPY, CHARACTERS)
    ),
    _ratio(
        f"torch engine over native, SnAp-2, {GRU256}",
        8,
        20,
        what="torch engine / native, snap2",
        network=GRU256,
        lanes=16,
    ),
    Target(
        "influence storage over live entries, worst",
        1.1,
        1.02,
        "kernel",
        "storage_ratio",
        {"backend": NATIVE},
        lower=True,
    ),
    _ratio(f"one thread over two, {GRU128}, n=2", 1.7, 1.95, what="kernel: one thread / two"),
)


def judge(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per target with the value in `tables` (by part) and the verdict."""
    rows = []
    for target in TARGETS:
        measured = target.measured(tables)
        sign = "≤" if target.lower else "≥"
        rows.append(
            (
                target.what,
                f"{sign} {target.must:g}",
                f"{sign} {target.goal:g}",
                measured,
                target.verdict(measured),
            )
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Read the tables of a bench that the targets need, as far as they exist."""
    files = {name: folder / f"{name}.csv" for name in ("kernel", "ratios")}
    return {name: pd.read_csv(file) for name, file in files.items() if file.is_file()}


if __name__ == "__main__":
    found = tables(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
    print(judge(found).to_string(index=False, na_rep="-", float_format="%.3g"))
