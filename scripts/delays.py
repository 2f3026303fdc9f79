"""Writes results/sab_recall/delays.csv: what each compared run recalls after longer delays.

The weights are frozen. Needs the panel's runs, which scripts/reproduce.sh sab_recall makes.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from committed import RESULTS, table

from snaprun.commands import evaluate

PANEL = "sab_recall"
DELAYS = (100, 200, 400)


def recalled(run: Path, delay: int) -> dict[str, float]:
    """Return the held-out metrics of a run at a delay, as `snaprun evaluate` gives them."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "metrics.json"
        evaluate.run(str(run), {"delay": delay}, json=str(file))
        return json.loads(file.read_text(encoding="utf-8"))["metrics"]


if __name__ == "__main__":
    rows = []
    runs = table(PANEL, "summary")
    for row in runs[runs.phase == "final"].itertuples():
        (run,) = (RESULTS / PANEL).glob(f"*-{row.config}")
        for delay in DELAYS:
            metrics = recalled(run, delay)
            columns = ("validation_accuracy", "validation_recall_cross_entropy")
            values = {column: metrics[column] for column in columns}
            rows.append({"arm": row.arm, "seed": row.seed, "delay": delay, **values})
    file = RESULTS / PANEL / "delays.csv"
    pd.DataFrame(rows).to_csv(file, index=False, float_format="%.6g")
