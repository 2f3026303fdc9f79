"""Learning against cost: the metric that a rule reached against its cost per token."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from snaprun.figures import labels, layout
from snaprun.figures.cost import MACS, TIME, CostColumn, as_cells, cost_of, ends
from snaprun.figures.curves import shown
from snaprun.figures.select import Facet, Series, Sheet
from snaprun.figures.stats import Spread, over_seeds
from snaprun.metrics import Metric
from snaprun.store.reader import Run

_COSTS = (TIME, MACS)


def draw(sheet: Sheet, stem: Path) -> list[Path]:
    """Draw the metric reached against the costs, a row a facet, and write the three files."""
    metric = shown(sheet)[-1]
    rows = len(sheet.facets)
    height = 1.9 if rows < 4 else 1.5  # inches of a facet with its margins
    figure = layout.blank(layout.PAGE, 0.2 + height * rows)
    grid = figure.subplots(rows, len(_COSTS), squeeze=False, sharey="row")
    placed = []
    for row, facet in zip(grid, sheet.facets, strict=True):
        row[0].set_title(facet.title, loc="left")
        reached_label = f"final {metric.axis}" if metric.smoothing else metric.axis
        row[0].set_ylabel(layout.wrapped(reached_label, height, 7.5))
        for axes, cost in zip(row, _COSTS, strict=True):
            placed.append((axes, _points(axes, facet, cost, metric)))
        layout.linear(row[0].yaxis, integer=metric.jumps)
    for axes, cost in zip(grid[-1], _COSTS, strict=True):
        axes.set_xlabel(cost.label)
    # Labels stand beside the points if there is room, else in a legend.
    direct = all(
        len(facet.series) <= 8 and all(len(series.label) <= 28 for series in facet.series)
        for facet in sheet.facets
    )
    handles = [] if direct else layout.legend(sheet, lines=False)
    layout.frame(figure, handles, _caption(sheet, metric))
    if direct:
        # Labels need the final layout, so the layout is made first and then kept.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axes, points in placed:
            labels.place(axes, points)
    tables = [_table(facet, metric) for facet in sheet.facets]
    return layout.save(figure, pd.concat(tables, ignore_index=True), stem)


def reached(series: Series, metric: Metric) -> Spread:
    """Return the final value of a series, over the runs that have one."""
    values = [_final(run, metric.key) for run in series.runs]
    return over_seeds([value for value in values if value is not None])


def _final(run: Run, key: str) -> float | None:
    """Return the value in the summary, else the last finite value in the rows, else None."""
    if run.summary and run.summary.metrics.get(key) is not None:
        return run.summary.metrics[key]
    if key not in run.columns:
        return None
    values = run.columns[key].astype(float)
    return next((float(value) for value in values[::-1] if np.isfinite(value)), None)


def _points(axes: Axes, facet: Facet, cost: CostColumn, metric: Metric) -> list[labels.Point]:
    """Draw the series that have both numbers, and return their labels."""
    found = [
        (series, x, y)
        for series in facet.series
        if (x := cost_of(series, cost.key)).seeds and (y := reached(series, metric)).seeds
    ]
    layout.cost_axis(axes, [x.median for _, x, _ in found])
    for series, x, y in found:
        marker = {**series.look.marker_kwargs(), "markersize": 5, "elinewidth": 0.9}
        axes.errorbar(x.median, y.median, xerr=x.bars, yerr=y.bars, **marker)
    axes.margins(0.12, 0.15)
    low, high = axes.get_ylim()
    if metric.jumps:  # room for ticks at integers
        low, high = max(0.0, min(low, high - 3)), max(high, low + 3)
    axes.set_ylim(low, max(min(high, metric.ceiling), low + 1e-3))
    return [labels.Point(layout.named([series]), series.look.ink, x, y) for series, x, y in found]


def _table(facet: Facet, metric: Metric) -> pd.DataFrame:
    rows = []
    for series in facet.series:
        y = reached(series, metric)
        row = {"panel": facet.title, "series": series.label, "quantity": metric.key}
        row |= as_cells("reached", y)
        for cost in _COSTS:
            row |= as_cells(cost.key, cost_of(series, cost.key))
        rows.append(row | ends(series, y.seeds))
    return pd.DataFrame(rows)


def _caption(sheet: Sheet, metric: Metric) -> str:
    series = [series for facet in sheet.facets for series in facet.series]
    better = "Up" if metric.better > 0 else "Down"
    seeds = layout.seeds_caption(series, "the point", "the bars")
    text = layout.text_caption(series)
    return f"{seeds} {better} and to the left is better. Times are those of the runs.{text}"
