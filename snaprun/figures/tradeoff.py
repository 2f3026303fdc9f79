"""Learning against cost: what a rule reached against what it cost a token."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from snaprun.figures import labels, layout
from snaprun.figures.cost import MACS, TIME, Cost, Spread, over_seeds, spread
from snaprun.figures.learning import Quantity, quantities
from snaprun.figures.select import Panel, Series, Sheet
from snaprun.figures.stats import band_name
from snaprun.figures.style import look
from snaprun.store.reader import Run

_COSTS = (TIME, MACS)


def draw(sheet: Sheet, stem: Path) -> list[Path]:
    """Draw what was reached against the costs, a row a panel, and write the three files."""
    quantity = quantities(sheet)[-1]
    figure = layout.blank(layout.PAGE, 2.1 * len(sheet.panels))
    grid = figure.subplots(len(sheet.panels), len(_COSTS), squeeze=False, sharey="row")
    placed = []
    for row, panel in zip(grid, sheet.panels, strict=True):
        row[0].set_title(panel.title, loc="left")
        row[0].set_ylabel(f"final {quantity.label}" if quantity.smooth else quantity.label)
        for axes, cost in zip(row, _COSTS, strict=True):
            axes.set_xlabel(cost.label)
            placed.append((axes, _points(axes, panel, cost, quantity)))
        layout.linear(row[0].yaxis, integer=quantity.step)
    layout.frame(figure, [], _caption(sheet))
    # Labels are placed on the page as it will be: lay it out, then keep it so.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes, points in placed:
        labels.place(axes, points)
    tables = [_table(panel, quantity) for panel in sheet.panels]
    return layout.save(figure, pd.concat(tables, ignore_index=True), stem)


def reached(series: Series, quantity: Quantity) -> Spread:
    """The final value of a series, over those of its runs that have one."""
    values = [_final(run, quantity.key) for run in series.runs]
    return over_seeds([value for value in values if value is not None])


def _final(run: Run, key: str) -> float | None:
    """The summary's value, or else the last row's that has one."""
    if run.summary and run.summary.metrics.get(key) is not None:
        return run.summary.metrics[key]
    if key not in run.metrics:
        return None
    values = run.metrics[key].to_numpy(float)
    values = values[np.isfinite(values)]
    return float(values[-1]) if len(values) else None


def _points(
    axes: Axes, panel: Panel, cost: Cost, quantity: Quantity
) -> list[tuple[float, float, str]]:
    """Draw the series that have both numbers; their places and labels, in data units."""
    found = [
        (series, x, y)
        for series in panel.series
        if (x := spread(series, cost.key)).seeds and (y := reached(series, quantity)).seeds
    ]
    layout.cost_axis(axes, [x.median for _, x, _ in found])
    for series, x, y in found:
        style = look(series.family, series.variant)
        axes.errorbar(
            x.median,
            y.median,
            xerr=_bars(x),
            yerr=_bars(y),
            color=style.colour,
            marker=style.marker,
            markersize=5,
            elinewidth=0.9,
        )
    axes.margins(0.12, 0.15)
    low, high = axes.get_ylim()
    axes.set_ylim(low, max(min(high, quantity.ceiling), low + 1e-3))
    return [(x.median, y.median, layout.named([series])) for series, x, y in found]


def _table(panel: Panel, quantity: Quantity) -> pd.DataFrame:
    rows = []
    for series in panel.series:
        y = reached(series, quantity)
        row: dict[str, object] = {
            "panel": panel.title,
            "series": series.label,
            "quantity": quantity.key,
            "reached": y.median,
            "reached_low": y.low,
            "reached_high": y.high,
        }
        for cost in _COSTS:
            x = spread(series, cost.key)
            row[cost.key] = x.median
            row[f"{cost.key}_low"], row[f"{cost.key}_high"] = x.low, x.high
        rows.append(
            row
            | {
                "band": band_name(y.seeds),
                "seeds": y.seeds,
                "diverged": series.diverged,
                "incomplete": series.incomplete,
            }
        )
    return pd.DataFrame(rows)


def _caption(sheet: Sheet) -> str:
    series: Sequence[Series] = [one for panel in sheet.panels for one in panel.series]
    return f"{layout.seeds_caption(series, 'the point', 'the bars')} Up and to the left is better."
