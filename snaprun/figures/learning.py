"""Learning speed: what a rule has learned against data-time, and against updates.

The tasks of the runs declare the metrics that the figure shows: the copy task the L that frozen
weights master on held-out sequences, and the L that the curriculum has reached.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from snaprun.figures import layout
from snaprun.figures.curves import TOKENS, UPDATES, Counter, Curve, curve, rows
from snaprun.figures.select import Facet, Series, Sheet
from snaprun.figures.stats import band_name
from snaprun.metrics import Metric

_MARKERS = 0.2  # the share of a facet's diagonal between two markers of a line
_HEIGHT = 1.9  # inches of a facet with its margins
_DESCENT = 0.1  # the first share of a facet's data-time, where a curve may lie above its axis


def draw(sheet: Sheet, stem: Path) -> list[Path]:
    """Draw the learning curves of a task and write the three files."""
    shown = rows(sheet)
    columns = min(3, len(sheet.facets))
    blocks = math.ceil(len(sheet.facets) / columns)
    labels = {series.label for facet in sheet.facets for series in facet.series}
    # One facet fits a column of the paper, unless its legend would be longer than the figure.
    single = layout.COLUMN if len(labels) <= 12 and max(map(len, labels)) <= 24 else 5.6
    width = {1: single, 2: 5.6, 3: layout.PAGE}[columns]
    figure = layout.blank(width, blocks * len(shown) * (1.75 if columns > 1 else _HEIGHT))
    grid = figure.subplots(blocks * len(shown), columns, squeeze=False)
    tables, used = [], defaultdict[Metric, list[Axes]](list)
    for number, (metric, counter) in enumerate(shown):
        for p, facet in enumerate(sheet.facets):
            axes = grid[(p // columns) * len(shown) + number, p % columns]
            used[metric].append(axes)
            tables.append(_facet(axes, facet, metric, counter))
            if number == 0:
                axes.set_title(layout.wrapped(facet.title, width / columns - 0.3, 7.5))
            if p % columns == 0:
                axes.set_ylabel(layout.wrapped(metric.axis, _HEIGHT, 7.5))
            else:
                axes.tick_params(labelleft=False)
            last = number + 1 == len(shown) or shown[number + 1][1] is not counter
            if last and (p + columns >= len(sheet.facets) or counter is UPDATES):
                axes.set_xlabel(counter.label)
    table = pd.concat([pd.DataFrame(), *tables], ignore_index=True)
    for metric, axes in used.items():
        _heights(axes, metric, table)
    for p in range(len(sheet.facets), blocks * columns):
        for number in range(len(shown)):
            grid[(p // columns) * len(shown) + number, p % columns].remove()
    figure.align_ylabels()
    layout.frame(figure, layout.legend(sheet), _caption(sheet, shown))
    return layout.save(figure, table.drop(columns="end", errors="ignore"), stem)


def alone(axes: Axes, facet: Facet, metric: Metric) -> pd.DataFrame:
    """Draw one facet against data-time in another figure, and return the plotted numbers."""
    table = _facet(axes, facet, metric, TOKENS)
    _heights([axes], metric, table)
    axes.set_ylabel(layout.wrapped(metric.axis, _HEIGHT, 7.5))
    return table


def _facet(axes: Axes, facet: Facet, metric: Metric, counter: Counter) -> pd.DataFrame:
    ends = [run.columns[counter.key][-1] for series in facet.series for run in series.runs]
    found = [(series, curve(series, metric, counter)) for series in facet.series]
    drawn = [(series, points) for series, points in found if points is not None]
    for number, (series, points) in enumerate(drawn):
        _line(axes, series, points, metric.holds, number / len(drawn))
    if counter is UPDATES and min(ends) * 10 < max(ends):
        axes.set_xscale("log")
        positive = [at for _, points in drawn for at in points.at if at > 0]
        axes.set_xlim(min(positive, default=1), 1.1 * max(ends))
    else:
        axes.set_xlim(-0.03 * max(ends), 1.03 * max(ends))
    layout.counts(axes.xaxis)
    tables = [_table(facet, *one, metric, counter, max(ends)) for one in drawn]
    return pd.concat([pd.DataFrame(), *tables], ignore_index=True)


def _line(axes: Axes, series: Series, points: Curve, step: bool, phase: float) -> None:
    """Draw one curve; solid lines lie below broken ones, so that curves that coincide show."""
    at, style = points.at, series.look
    line: dict[str, Any] = {"color": style.colour, "linestyle": style.line}
    line["drawstyle"] = "steps-post" if step else "default"
    axes.plot(at, points.median, **line, zorder=2.0 if style.line == "-" else 2.2)
    band: dict[str, Any] = {"step": "post" if step else None, "color": style.colour}
    axes.fill_between(at, points.low, points.high, **band, alpha=0.13, linewidth=0, zorder=1)
    # Markers stand at even distances, at other places on each line, and above all lines. Matplotlib
    # would give none to a single point, which no line shows.
    alone = np.isfinite(points.median).sum() < 2
    every = None if alone else (phase * _MARKERS, _MARKERS)
    markers = {**style.marker_kwargs(), "markevery": every}
    axes.plot(at, points.median, linestyle="none", **markers, zorder=3)
    for at, value in points.stops:
        axes.plot(at, value, "x", color=style.colour, markersize=6, markeredgewidth=1.4, zorder=4)


def _table(
    facet: Facet, series: Series, points: Curve, metric: Metric, counter: Counter, end: int
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "panel": facet.title,
            "series": series.label,
            "quantity": metric.key,
            "counter": counter.key,
            "at": points.at.astype("int64"),
            "end": end,
            "median": points.median,
            "low": points.low,
            "high": points.high,
            "band": [band_name(seeds) for seeds in points.seeds],
            "seeds": points.seeds,
            "runs": len(series.runs),
            "diverged": series.diverged,
            "incomplete": series.incomplete,
        }
    )


def _heights(used: Sequence[Axes], metric: Metric, table: pd.DataFrame) -> None:
    """Give the facets of one metric one y axis, so that they can be compared."""
    low = min(axes.get_ylim()[0] for axes in used)
    high = max(axes.get_ylim()[1] for axes in used)
    if not metric.holds and len(table):
        of_tokens = (table["quantity"] == metric.key) & (table["counter"] == TOKENS.key)
        low, high = fitted(table.loc[of_tokens], metric) or (low, high)
    for axes in used:
        axes.set_ylim(low, max(high, low + 1e-3))
        layout.linear(axes.yaxis, integer=metric.jumps)


def fitted(table: pd.DataFrame, metric: Metric) -> tuple[float, float] | None:
    """Return the ends of an axis that fit what follows the first descent; None if nothing does.

    The first descent of every rule is so deep that it would flatten all later differences. The
    `table` has the columns at, end, median, low and high, of this metric against data-time.
    """
    late = table.loc[table["at"] >= _DESCENT * table["end"]]
    if not late["median"].notna().any():
        return None
    low = late[["median", "low"]].min(axis=None)
    high = min(metric.ceiling, late[["median", "high"]].max(axis=None))
    margin = 0.05 * max(high - low, 0.1)
    return low - margin, high + margin


def _caption(sheet: Sheet, shown: Sequence[tuple[Metric, Counter]]) -> str:
    series = [series for facet in sheet.facets for series in facet.series]
    parts = [layout.seeds_caption(series, "the line", "the band")]
    if sheet.chosen:
        parts.append("Each rule at the learning rate that was best for it on other seeds.")
    for metric in dict.fromkeys(metric for metric, _ in shown):
        if metric.smoothing:
            name, share = metric.label[:1].upper() + metric.label[1:], 100 * metric.smoothing
            parts.append(f"{name}: mean over the last {share:g} % of a run's data-time.")
    if not all(metric.holds for metric, _ in shown):
        parts.append(f"Axes are fitted to what follows the first {100 * _DESCENT:g} %.")
    if any(one.diverged for one in series):
        parts.append("A cross: a seed diverged here, and the line goes on without it.")
    return " ".join(parts) + layout.text_caption(series)
