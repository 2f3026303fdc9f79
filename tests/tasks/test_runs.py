"""Short runs of the tasks with measures or a baseline, through the command line."""

import math

import pytest

from snaprun.cli import _main
from snaprun.store import read_run

RECALL = ("accuracy", "recall_cross_entropy")


@pytest.mark.parametrize(
    ("task", "options", "columns", "baselines"),
    [
        ("adding", ("length=7",), ("mse",), ("mse",)),
        (
            "recall_after_delay",
            ("delay=2", "scope=all", "code=scalar"),
            ("cross_entropy", *RECALL),
            ("cross_entropy", *RECALL),
        ),
        ("digits", ("by=row", "permute=true"), ("cross_entropy", "accuracy"), ()),
    ],
)
def test_rows_hold_the_loss_the_measures_and_the_baseline(task, options, columns, baselines, here):
    small = ("cell.units=4", "readout.hidden=0", "train.lanes=3", "train.tokens=900")
    rows = ("train.log_every=300", "train.eval_every=400", "train.eval_tokens=500")
    chosen = [f"task.{option}" for option in options]
    assert _main(["train", f"task={task}", *chosen, *small, *rows]) == 0
    (folder,) = (path.parent for path in here.rglob("summary.json"))
    run = read_run(folder)
    assert run.summary is not None
    for key in (*columns, *(f"baseline_{key}" for key in baselines)):
        start = "baseline_validation_" if key.startswith("baseline_") else "validation_"
        for name in (key, start + key.removeprefix("baseline_")):
            assert math.isfinite(run.summary.metrics[name]), name
    beside = {key for key in run.summary.metrics if key.startswith("baseline_")}
    assert len(beside) == 2 * len(baselines)
