"""Writes results/function_family/episodes.csv: the errors at the two ends of an episode.

Needs the panel's runs, which scripts/reproduce.sh function_family makes.
"""

import pandas as pd
from committed import RESULTS
from evaluated import compared, metrics

PANEL = "function_family"
COLUMNS = ("validation_mse_first_tenth", "validation_mse_last_tenth")

if __name__ == "__main__":
    rows = []
    for named, run in compared(PANEL):
        found = metrics(run)
        rows.append({**named, **{column: found[column] for column in COLUMNS}})
    file = RESULTS / PANEL / "episodes.csv"
    pd.DataFrame(rows).to_csv(file, index=False, float_format="%.6g")
