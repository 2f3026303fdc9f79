"""Reads the committed tables, for the scripts that write pages from them."""

from functools import cache
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"


@cache
def table(panel: str, name: str) -> pd.DataFrame:
    """Read a committed table of a panel."""
    return pd.read_csv(RESULTS / panel / f"{name}.csv")
