"""Writes results/sab_recall/delays.csv: what each compared run recalls after longer delays.

Needs the panel's runs, which scripts/reproduce.sh sab_recall makes.
"""

import pandas as pd
from committed import RESULTS
from evaluated import compared, metrics

PANEL = "sab_recall"
DELAYS = (100, 200, 400)
COLUMNS = ("validation_accuracy", "validation_recall_cross_entropy")

if __name__ == "__main__":
    rows = []
    for named, run in compared(PANEL):
        for delay in DELAYS:
            found = metrics(run, delay=delay)
            rows.append({**named, "delay": delay, **{column: found[column] for column in COLUMNS}})
    file = RESULTS / PANEL / "delays.csv"
    pd.DataFrame(rows).to_csv(file, index=False, float_format="%.6g")
