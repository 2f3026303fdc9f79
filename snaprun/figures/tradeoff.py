"""Learning against cost: the metric that a rule reached against its cost per token."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from snaprun.figures import labels, layout, marks
from snaprun.figures.cost import MACS, TIME, CostColumn, as_cells, cost_of, ends
from snaprun.figures.curves import shown
from snaprun.figures.select import Facet, Series, Sheet
from snaprun.figures.stats import Spread, over_seeds
from snaprun.metrics import Metric
from snaprun.store.reader import Run

_COSTS = (TIME, MACS)
Found = tuple[Series, Spread, Spread]  # a point: its cost, and the metric reached


def draw(sheet: Sheet, stem: Path) -> list[Path]:
    """Draw the metric reached against the costs, a row a facet, and write the three files.

    A facet of a single point has no row; returns [] if no other facet is left.
    """
    metric = shown(sheet)[-1]
    facets = [
        facet
        for facet in sheet.facets
        if any(len(_found(facet, cost, metric)) > 1 for cost in _COSTS)
    ]
    if not facets:
        return []
    rows = len(facets)
    height = 1.9 if rows < 4 else 1.5  # inches of a facet with its margins
    figure = layout.blank(layout.PAGE, 0.2 + height * rows)
    grid = figure.subplots(rows, len(_COSTS), squeeze=False, sharey="row")
    placed, beyond = list[tuple[Axes, list[labels.Point]]](), dict[str, list[str]]()
    for row, facet in zip(grid, facets, strict=True):
        row[0].set_title(facet.title, loc="left")
        reached_label = f"final {metric.axis}" if metric.smoothing else metric.axis
        row[0].set_ylabel(layout.wrapped(reached_label, height, 7.5))
        found = [_found(facet, cost, metric) for cost in _COSTS]
        for axes, points in zip(row, found, strict=True):
            _points(axes, points, metric)
        for axes, points in zip(row, found, strict=True):
            placed.append((axes, _placed(axes, points, beyond)))
        layout.linear(row[0].yaxis, integer=metric.jumps)
    for axes, cost in zip(grid[-1], _COSTS, strict=True):
        axes.set_xlabel(cost.label)
    # Labels stand beside the points if there is room, else in a legend.
    direct = all(
        len(facet.series) <= 8 and all(len(series.label) <= 28 for series in facet.series)
        for facet in facets
    )
    drawn = replace(sheet, facets=tuple(facets))
    handles = [] if direct else layout.legend(drawn, lines=False, notes=beyond)
    layout.frame(figure, handles, _caption(drawn, metric, bool(beyond)))
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


def _found(facet: Facet, cost: CostColumn, metric: Metric) -> list[Found]:
    """Return the series that have both numbers."""
    return [
        (series, x, y)
        for series in facet.series
        if (x := cost_of(series, cost.key)).seeds and (y := reached(series, metric)).seeds
    ]


def _points(axes: Axes, found: Sequence[Found], metric: Metric) -> None:
    """Draw the points with their bars, and set the limits of the axes."""
    layout.cost_axis(axes, [x.median for _, x, _ in found])
    for series, x, y in found:
        marker = {**series.look.marker_kwargs(), "markersize": 5, "elinewidth": 0.9}
        axes.errorbar(x.median, y.median, xerr=x.bars, yerr=y.bars, **marker)
    axes.margins(0.12)
    # A rule that diverges may end so far away that its point would flatten all differences.
    fitted = [y for series, _, y in found if series.lasted] or [y for *_, y in found]
    reached = layout.reach(
        (value for y in fitted for value in (y.median, y.low, y.high)), metric.ceiling
    )
    low, high = reached or (0.0, 1.0)
    margin = 0.15 * (high - low) or 0.05 * abs(high) or 0.05
    low, high = low - margin, high + margin
    if metric.jumps:  # room for ticks at integers
        low, high = max(0.0, min(low, high - 3)), max(high, low + 3)
    axes.set_ylim(low, high)


def _placed(axes: Axes, found: Sequence[Found], beyond: dict[str, list[str]]) -> list[labels.Point]:
    """Mark points beyond the final limits, note their names in `beyond`, and return the labels."""
    axes.set_xlim(axes.get_xlim())
    spots = [(np.array([x.median]), np.array([y.median]), one.look) for one, x, y in found]
    points = []
    for (series, x, y), off in zip(found, marks.at_edges(axes, spots), strict=True):
        notes = [marks.OFF] if off else []
        if off:
            beyond[series.name] = notes
            x, y = _within(x, axes.get_xlim()), _within(y, axes.get_ylim())
        points.append(labels.Point(layout.named([series], notes), series.look.ink, x, y))
    return points


def _within(spread: Spread, limits: tuple[float, float]) -> Spread:
    """Return a number at the nearest place within the limits, without its band."""
    low, high = limits
    return Spread(min(max(spread.median, low), high), math.nan, math.nan, spread.seeds)


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


def _caption(sheet: Sheet, metric: Metric, beyond: bool) -> str:
    series = [series for facet in sheet.facets for series in facet.series]
    better = "Up" if metric.better > 0 else "Down"
    seeds = layout.seeds_caption(series, "the point", "the bars")
    parts = [seeds, f"{better} and to the left is better. Times are those of the runs."]
    parts += [marks.EDGES] * beyond + [layout.pooled_caption(sheet)]
    return " ".join(filter(None, parts)) + layout.text_caption(series)
