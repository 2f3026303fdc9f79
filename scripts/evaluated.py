"""Evaluates the compared runs of a panel again, for scripts that ask more than its tables hold."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from committed import RESULTS, table

from snaprun.commands import evaluate


def compared(panel: str) -> Iterator[tuple[dict[str, object], Path]]:
    """Yield the arm and seed of every compared run of a panel, and its folder."""
    runs = table(panel, "summary")
    for row in runs[runs.phase == "final"].itertuples():
        (run,) = (RESULTS / panel).glob(f"*-{row.config}")
        yield {"arm": row.arm, "seed": row.seed}, run


def metrics(run: Path, **task: object) -> dict[str, float]:
    """Return the held-out metrics of a run with other keys of its task, its weights frozen."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "metrics.json"
        evaluate.run(str(run), task, json=str(file))
        return json.loads(file.read_text(encoding="utf-8"))["metrics"]
