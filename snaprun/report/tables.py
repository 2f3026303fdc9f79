"""The tables of a page: a row for each run, and for each series its results, cost and keys."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from snaprun.figures.cost import COSTS, cost_of
from snaprun.figures.curves import shown
from snaprun.figures.select import Facet, Series, Sheet
from snaprun.figures.stats import Spread
from snaprun.figures.style import compact
from snaprun.figures.tradeoff import reached
from snaprun.identity import without_whereabouts
from snaprun.listing import flat, varying
from snaprun.report.charts import dressed
from snaprun.report.gather import Entry, Gathered, Part
from snaprun.status import RULE, table_of, written
from snaprun.store.reader import Run

PEAK = "peak_bytes"


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and the value by which its column is sorted."""

    text: str
    order: str | float = ""  # "": the text itself
    colour: str = ""  # of the series
    run: int | None = None  # the number of the run whose curve the cell can show


@dataclass(frozen=True)
class Table:
    """The headings and the rows of a table."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def of_runs(gathered: Gathered) -> Table:
    """Return a row for each run: its series, state, varying keys, metrics, cost and folder."""
    entries = gathered.entries
    configs = [entry.config for entry in entries]
    frame, keys, metrics = table_of([e.standing for e in entries], configs, gathered.root)
    for cost in COSTS:
        frame[cost.label] = pd.Series([_cost(entry, cost.key) for entry in entries], dtype=float)
    series = {run: one for part in gathered.parts for run, one in _of_runs(part.sheet)}
    keys = [key for key in keys if key != RULE]  # the first column says it
    names = ["state", "tokens", "of", *keys, *metrics, *(cost.label for cost in COSTS), "run"]
    known = frame.notna().to_dict("records")
    rows = []
    for number, values in enumerate(frame.to_dict("records")):
        run = entries[number].run
        cells = [_curve_of(number, series[run])] if run in series else [Cell("")]
        cells += [_cell(k, values[k]) if known[number][k] else Cell("") for k in names]
        rows.append(cells)
    return Table(["rule", *names], rows)


def of_series(parts: Sequence[Part]) -> Iterator[tuple[str, Table]]:
    """Yield a table of each part: what each series reached, and what it costs."""
    for part in parts:
        metrics = shown(part.sheet)
        head = ["rule", "network", "runs", *(metric.axis for metric in metrics)]
        for cost in COSTS:
            head += [cost.label, *([f"{cost.label}, analytic"] if cost.analytic else [])]
        rows = []
        for facet, series in _places(part.sheet):
            cells = _heading(facet, series)
            cells += [_spread(reached(series, metric), "{:.4g}".format) for metric in metrics]
            for cost in COSTS:
                cells.append(_spread(cost_of(series, cost.key), compact))
                if cost.analytic:
                    cells.append(_spread(cost_of(series, cost.analytic), compact))
            cells.append(_spread(cost_of(series, PEAK), compact))
            rows.append(cells)
        yield part.name, Table([*head, "peak of the process (bytes)"], rows)


def common(runs: Sequence[Run]) -> str:
    """Return as YAML the part of the configuration that all runs share."""
    choices = [flat(without_whereabouts(run.config)) for run in runs]
    same = set(choices[0]).intersection(*choices) - {*varying(choices)}
    return yaml.safe_dump(_only(runs[0].config, same), sort_keys=False, allow_unicode=True)


def apart(parts: Sequence[Part]) -> Table:
    """Return a row for each series with the keys that not all runs share."""
    places = [place for part in parts for place in _places(part.sheet)]
    runs = [run for _, series in places for run in series.runs]
    choices = {run: flat(without_whereabouts(run.config)) for run in runs}
    some = set().union(*choices.values()) - set(choices[runs[0]]).intersection(*choices.values())
    told = {*varying(choices.values()), *some} - {"seed"}
    keys = [
        key for key in dict.fromkeys(key for run in runs for key in choices[run]) if key in told
    ]
    rows = []
    for facet, series in places:
        cells = _heading(facet, series)
        cells.append(Cell(", ".join(str(run.config["seed"]) for run in series.runs)))
        for key in keys:
            values = dict.fromkeys(choices[run][key] for run in series.runs if key in choices[run])
            cells.append(_cell(key, next(iter(values))) if len(values) == 1 else _listed(values))
        rows.append(cells)
    return Table(["rule", "network", "runs", "seeds", *keys], rows)


def _places(sheet: Sheet) -> Iterator[tuple[Facet, Series]]:
    for facet in sheet.facets:
        for series in facet.series:
            yield facet, series


def _of_runs(sheet: Sheet) -> Iterator[tuple[Run, Series]]:
    for _, series in _places(sheet):
        for run in series.runs:
            yield run, series


def _heading(facet: Facet, series: Series) -> list[Cell]:
    name = Cell(series.label, f"series {series.rank:06}", colour=dressed(series.look)["colour"])
    ends = {"diverged": series.diverged, "incomplete": series.incomplete}
    notes = ", ".join(f"{count} {end}" for end, count in ends.items() if count)
    runs = len(series.runs)
    return [name, Cell(facet.title), Cell(f"{runs} ({notes})" if notes else f"{runs}", runs)]


def _curve_of(number: int, series: Series) -> Cell:
    colour = dressed(series.look)["colour"]
    return Cell(series.label, f"series {series.rank:06}", colour=colour, run=number)


def _cost(entry: Entry, key: str) -> float:
    cost = entry.run.summary.cost if entry.run and entry.run.summary else {}
    value = cost.get(key)
    return math.nan if value is None else value


def _cell(name: str, value: Any) -> Cell:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell("null" if value is None else written(name, value))
    costs = {cost.label for cost in COSTS}
    return Cell(compact(value) if name in costs else written(name, value), float(value))


def _listed(values: dict[Any, None]) -> Cell:
    return Cell(", ".join(_cell("", value).text for value in values))


def _spread(spread: Spread, form: Any) -> Cell:
    if not spread.seeds:
        return Cell("")
    text = form(spread.median)
    ends = [form(spread.low), form(spread.high)]
    if not math.isnan(spread.low) and {*ends} != {text}:
        text += f" [{', '.join(ends)}]"
    return Cell(text, spread.median)


def _only(config: dict[str, Any], kept: set[str], prefix: str = "") -> dict[str, Any]:
    """Return the part of a configuration whose dotted keys are kept."""
    part: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            below = _only(value, kept, f"{prefix}{key}.")
            if below:
                part[key] = below
        elif f"{prefix}{key}" in kept:
            part[key] = value
    return part
