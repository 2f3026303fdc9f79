"""The files of a panel, small enough to be committed.

- `panel.yaml`: how the panel was made, the learning rate and configuration of each arm, and the
  metrics that are not built in.
- `summary.csv`: a row for each run. `curves.csv`: the learning curve of each compared run.

All other files are derived from these three: `tests.csv` compares arms on equal seeds, `README.md`
tells the results in a few lines, and figures draw them.
"""

from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from snaprun.checks import refuse
from snaprun.files import Folder, writing
from snaprun.metrics import Metric, from_json, known
from snaprun.store.parse import as_columns
from snaprun.store.reader import YAML, Run, runs_under
from snaprun.store.schema import DIVERGED, FINISHED, Summary
from snaprun.store.writer import strict

PANEL, SUMMARY, CURVES = "panel.yaml", "summary.csv", "curves.csv"
TESTS, README = "tests.csv", "README.md"
FINAL = "final"  # the phase of the compared runs; of runs of other phases only the summary is kept
COSTS = ("ms_per_token", "macs_per_token", "state_bytes", "state_bytes_analytic", "peak_bytes")
_REACHED = "final"  # the column of the metric that each run reached
_NUMBERS = ("seed", "lr", "tokens", "updates", "seconds", _REACHED, *COSTS)
_WHOLE = 128  # rows: a curve with no more is kept as it is
_POINTS = 100  # rows to which a longer curve is thinned
_SUMMARY = ("arm", "phase", "seed", "lr", "status", "tokens", _REACHED)  # columns
_CURVES = ("arm", "seed", "tokens", "updates")


def write_runs(
    folder: Path, panel: Mapping[str, Any], summary: pd.DataFrame, curves: pd.DataFrame
) -> list[Path]:
    """Write a panel; `panel["arms"]` maps each arm to its lr and config; UserError if it fails."""
    # One line for each group of keys.
    text = yaml.safe_dump(strict(panel), sort_keys=False, default_flow_style=None, width=1000)
    return _write(folder, {PANEL: text, SUMMARY: _csv(summary), CURVES: _csv(curves)})


def write_derived(folder: Path, tests: pd.DataFrame, readme: str) -> list[Path]:
    """Write the derived files of a panel; raises UserError if they cannot be written."""
    return _write(folder, {TESTS: _csv(tests), README: readme})


def _write(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write each file completely or not at all, and return the paths."""
    with writing(folder), Folder.make(folder) as opened:
        for name, text in texts.items():
            opened.write(name, text)
    return [folder / name for name in texts]


def is_panel(folder: Path) -> bool:
    """Return whether `folder` holds a panel; the readers report any other file that is missing."""
    return (folder / PANEL).is_file()


def panels_in(folder: Path) -> list[Path]:
    """Return the panels directly inside `folder`, sorted; [] if it is a panel or holds runs."""
    if is_panel(folder) or not folder.is_dir():
        return []
    panels = sorted(filter(is_panel, folder.iterdir()))
    # A search through many runs takes long, so it is made only if there are panels.
    return [] if panels and runs_under(folder) else panels


def read_panel(folder: Path) -> list[Run]:
    """Return the compared runs of a panel; raises UserError as `read_arms` does."""
    return [run for runs in read_arms(folder).values() for run in runs.values()]


def read_arms(folder: Path) -> dict[str, dict[int, Run]]:
    """Return the compared runs by arm and seed; raises UserError, which names a damaged file."""
    arms, metric, declared = _read_yaml(folder)
    configs = {arm: dict(arms[arm]["config"]) for arm in arms}
    summary = read_summaries(folder)
    curves = _read(folder / CURVES, _CURVES, numbers=(*_NUMBERS, *known(declared)))
    ended = summary["status"].isin((FINISHED, DIVERGED))
    summary = summary.loc[(summary["phase"] == FINAL) & ended]
    _filled(folder / SUMMARY, summary, ("arm", "seed", "lr", "tokens"))
    _filled(folder / CURVES, curves, _CURVES)
    by_run: dict[Any, pd.DataFrame] = dict(iter(curves.groupby(["arm", "seed"], sort=False)))
    for arm, seed in by_run.keys() - set(zip(summary["arm"], summary["seed"], strict=True)):
        refuse(str(folder / CURVES), f"{arm}, seed {seed}", f"a run of {SUMMARY}")
    runs: dict[str, dict[int, Run]] = {}
    for row in summary.to_dict("records"):
        arm, seed, lr = row["arm"], int(row["seed"]), row["lr"]
        if arm not in configs or (arm, seed) not in by_run:
            refuse(str(folder / SUMMARY), f"{arm}, seed {seed}", f"a run of {PANEL} and {CURVES}")
        config = {**configs[arm], "seed": seed, "optim": {**configs[arm]["optim"], "lr": lr}}
        metrics = by_run[arm, seed].drop(columns=["arm", "seed"]).dropna(axis=1, how="all")
        ended = _summary(row, metric, declared)
        named = folder / f"{arm}-{seed}"
        runs.setdefault(arm, {})[seed] = Run(named, config, as_columns(metrics), ended)
    return runs


def read_rates(folder: Path) -> dict[str, float]:
    """Return the learning rate of each arm; raises UserError, which names a damaged file."""
    arms, *_ = _read_yaml(folder)
    try:
        return {str(arm): float(arms[arm]["lr"]) for arm in arms}
    except (KeyError, TypeError, ValueError) as error:
        refuse(str(folder / PANEL), f"lr: {error}", "the learning rate of each arm")


def read_metrics(folder: Path) -> dict[str, Metric]:
    """Return the metrics of a panel's runs by key; raises UserError, which names a damaged file."""
    *_, declared = _read_yaml(folder)
    return known(declared)


def read_summaries(folder: Path) -> pd.DataFrame:
    """Return the table of a panel's runs; raises UserError, which names a damaged file."""
    return _read(folder / SUMMARY, _SUMMARY)


def _read_yaml(folder: Path) -> tuple[dict[str, Any], str, tuple[Metric, ...]]:
    """Return the arms (each config has an `optim`), the metric, and the declared metrics."""
    try:
        panel = yaml.load((folder / PANEL).read_text(encoding="utf-8"), YAML)
        arms, metric = panel["arms"], str(panel["metric"])
        declared = from_json(panel.get("declared", []))
        for arm in arms:
            dict(dict(arms[arm]["config"])["optim"])
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        refuse(str(folder / PANEL), " ".join(str(error).split()), "the arms and metric of a panel")
    return arms, metric, declared


def read_speeds(folder: Path) -> dict[str, float]:
    """Return the median seconds per token of each arm's finished runs; {} without a summary."""
    if not (folder / SUMMARY).is_file():
        return {}
    table = _read(folder / SUMMARY, ("arm", "status", "tokens", "seconds"))
    done = table.loc[table["status"] == FINISHED]
    return (done["seconds"] / done["tokens"]).groupby(done["arm"]).median().to_dict()


def thinned(
    table: pd.DataFrame, metrics: Sequence[Metric], due: NDArray[np.float64]
) -> pd.DataFrame:
    """Return a row of `metrics` for each data-time that has a value, and the row of the run's end.

    More than 128 rows are merged into one for each hundredth of the data-time, by the data-time
    `due` (N,) of each row. A merged row has the last counters and the last values of integer
    metrics; other metrics are the mean of the values that are not missing.
    """
    shown = {metric.key: metric for metric in metrics if metric.key in table}
    kept = table.loc[:, ["tokens", "updates", *shown]].assign(due=due)
    last = kept.index == kept.index[-1]
    kept = kept.loc[kept[list(shown)].notna().any(axis=1) | last]
    kept = kept.groupby("tokens", as_index=False, sort=False).last()
    if len(kept) <= _WHOLE:
        return kept.drop(columns="due")
    part = np.ceil(kept.pop("due") / (due[-1] / _POINTS))
    how: dict[str, Any] = dict.fromkeys(kept, "last")
    how |= {key: "mean" for key in shown if not shown[key].whole}
    return pd.DataFrame(kept.groupby(part).agg(how))


def _summary(row: Mapping[str, Any], metric: str, declared: tuple[Metric, ...]) -> Summary:
    given = {key: value for key, value in row.items() if pd.notna(value)}
    return Summary(
        status=row["status"],
        tokens=int(row["tokens"]),
        updates=int(given.get("updates", 0)),
        seconds=given.get("seconds", 0.0),
        metrics={metric: given[_REACHED]} if _REACHED in given else {},
        cost={key: given[key] for key in COSTS if key in given},
        declared=declared,
    )


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def _read(
    path: Path, columns: tuple[str, ...], numbers: tuple[str, ...] = _NUMBERS
) -> pd.DataFrame:
    try:
        text = path.read_text(encoding="utf-8")
        table = pd.read_csv(StringIO(text), dtype={"config": str})
    except (OSError, ValueError) as error:
        refuse(str(path), " ".join(str(error).split()), "a readable table")
    if not text.endswith("\n"):
        refuse(str(path), "a table without its end", "a line break after the last row")
    if missing := [name for name in columns if name not in table]:
        lacking = f"a table without {', '.join(missing)}"
        refuse(str(path), lacking, f"the columns {', '.join(columns)}")
    for name in numbers:
        if len(table) and name in table and not is_numeric_dtype(table[name]):
            refuse(f"{path} {name}", "a column with words in it", "numbers")
    return table


def _filled(path: Path, table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    if table[list(columns)].isna().to_numpy().any():
        refuse(str(path), "a table with gaps", f"a value in each row of {', '.join(columns)}")
    numbers = table[[name for name in columns if name in _NUMBERS]].to_numpy(float)
    if not ((numbers >= 0) & np.isfinite(numbers)).all():
        accepted = f"finite numbers ≥ 0 in each row of {', '.join(columns)}"
        refuse(str(path), "a table with a negative or infinite number", accepted)
