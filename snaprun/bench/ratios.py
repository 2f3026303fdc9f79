"""Ratios of the times of two contenders of one group, taken round by round."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from snaprun.bench.interleave import Spread
from snaprun.bench.problem import Net

COLUMNS = (
    *("what", "network", "task", "inputs", "lanes", "engine"),
    *("ratio", "ratio_low", "ratio_high"),
)


@dataclass(frozen=True)
class Ratio:
    """The time of the first of `what` over the time of the second: median and quartiles."""

    what: str
    net: Net
    lanes: int
    engine: str  # or backend
    spread: Spread


def ratio_table(ratios: Sequence[Ratio]) -> pd.DataFrame:
    """Return a table with a row per ratio."""
    rows = [
        (one.what, one.net.name, one.net.task, one.net.inputs, one.lanes, one.engine, *one.spread)
        for one in ratios
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))
