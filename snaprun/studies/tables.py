"""Tables of what the runs of a panel reached and what they cost."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from snaprun.checks import refuse
from snaprun.metrics import Metric
from snaprun.store import DIVERGED, FAILED, Run, Summary, declared, read_run
from snaprun.store.panel import COSTS, FINAL, thinned
from snaprun.studies.metric import due, final, overall
from snaprun.studies.plan import PlannedRun

_INTEGERS = {"tokens", "updates", *COSTS} - {"ms_per_token"}


def read(job: PlannedRun, metric: Metric) -> Run:
    """Read a finished run up to `job.tokens`; raises UserError if the run lacks the metric."""
    run = read_run(job.folder)
    if run.status != DIVERGED and metric.key not in run.columns:
        found = ", ".join(run.columns)
        refuse("panel.metric", metric.key, f"one that the runs write; {job.folder} has {found}")
    # The run may have gone further since. Several rows can share the data-time that ends it here.
    tokens_N = run.columns["tokens"]
    end = tokens_N[tokens_N >= job.tokens].min(initial=np.iinfo(np.int64).max)
    kept_N = tokens_N <= end
    return replace(run, columns={name: values[kept_N] for name, values in run.columns.items()})


def summary(
    jobs: Sequence[PlannedRun], runs: Mapping[PlannedRun, Run], metric: Metric
) -> pd.DataFrame:
    """Return a table with one row per job.

    `final` and `mean` are the metric late in the run and over the whole run; `final_<key>` are the
    final values of the metrics in `metric.beside`, if the runs have them.
    """
    table = pd.DataFrame([_row(job, runs.get(job), metric) for job in jobs])
    return table.astype(dict.fromkeys(_INTEGERS & {*table}, "Int64"))


def _row(job: PlannedRun, run: Run | None, metric: Metric) -> dict[str, object]:
    row: dict[str, object] = {
        "arm": job.arm,
        "phase": job.phase,
        "config": job.folder.name.rpartition("-")[2],
        "seed": job.seed,
        "lr": job.lr,
        "status": FAILED,
    }
    if run is None or run.summary is None or run.metrics.empty:
        return row
    last, known = run.metrics.iloc[-1], run.summary
    diverged, beside = run.status == DIVERGED, declared([run])
    return {
        **row,
        "status": run.status,
        "tokens": int(last["tokens"]),
        "updates": int(last["updates"]),
        "final": np.nan if diverged else final(run, metric),
        "mean": np.nan if diverged else overall(run, metric),
        **{
            f"final_{key}": np.nan if diverged else final(run, beside[key])
            for key in metric.beside
            if key in run.metrics and key in beside
        },
        "seconds": last["seconds"],
        **{key: known.cost.get(key) for key in COSTS},
        "engine": known.extras.get("engine"),
        "isa": _settings(known, "isa"),
        "cpu": _settings(known, "cpu"),
        "device": known.extras.get("device"),
        **known.extras.get("versions", {}),
        **{key: value for key, value in known.extras.items() if key.endswith("_sha256")},
    }


def _settings(known: Summary, key: str) -> str | None:
    """Return the values of a setting over a run's segments, in order; None if one is unknown."""
    values = dict.fromkeys(part[key] for part in known.extras.get("segments", [{key: None}]))
    return None if None in values else ", ".join(values)


def curves(runs: Mapping[PlannedRun, Run], metric: Metric) -> pd.DataFrame:
    """Return the thinned metrics of the compared runs: a row per arm, seed and data-time."""
    known = declared(runs.values())
    kept = [known[key] for key in metric.columns if key in known]
    parts = [
        thinned(run.metrics, kept, due(run)).assign(arm=job.arm, seed=job.seed)
        for job, run in runs.items()
        if job.phase == FINAL
    ]
    table = pd.concat(parts, ignore_index=True)
    first = ["arm", "seed"]
    return table.loc[:, [*first, *(name for name in table if name not in first)]]
