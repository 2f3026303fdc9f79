"""Learning speed: what a rule has learned against data-time.

copy: the curriculum's L. Texts and everything else: training and validation bits per character.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from snaprun.figures import layout
from snaprun.figures.select import Panel, Series, Sheet
from snaprun.figures.stats import Array, band_name, carried, median_band, smoothed
from snaprun.figures.style import look
from snaprun.store.reader import Run
from snaprun.store.schema import DIVERGED, FINISHED

_GRID = 400  # points a curve: more are not seen at the width of a page
_SMOOTHING = 0.02  # of the data-time of a run
_DESCENT = 0.1  # of the data-time of a panel, in which bpc may lie above its axis


@dataclass(frozen=True)
class Quantity:
    """A column of the metrics that tells how much was learned."""

    key: str
    label: str
    ceiling: float = math.inf  # of the axis: beyond it lies what is worse than guessing
    smooth: bool = False
    step: bool = False  # an integer that jumps


LEVEL = Quantity("level", "L reached (bits)", step=True)
TRAINING = Quantity("bpc", "training bpc", ceiling=10, smooth=True)
VALIDATION = Quantity("validation_bpc", "validation bpc", ceiling=10)


def quantities(sheet: Sheet) -> list[Quantity]:
    """What the figures of a task show; the last one is what its runs are compared by."""
    columns = set().union(*(run.metrics.columns for run in sheet.runs))
    # At a fixed length L never moves.
    fixed = all(run.config["task"].get("fixed_length") is not None for run in sheet.runs)
    if LEVEL.key in columns and not fixed:
        return [LEVEL]
    return [quantity for quantity in (TRAINING, VALIDATION) if quantity.key in columns]


@dataclass(frozen=True)
class Curve:
    """A series on the common grid; all arrays have shape (G,)."""

    tokens: Array
    median: Array
    low: Array
    high: Array
    seeds: NDArray[np.int64]  # how many have a value here: a diverged seed has none from its end on
    stops: list[tuple[float, float]]  # (tokens, value) at which a diverged seed ended


def draw(sheet: Sheet, stem: Path) -> list[Path]:
    """Draw the learning curves of a task and write the three files."""
    shown = quantities(sheet)
    columns = min(3, len(sheet.panels))
    blocks = math.ceil(len(sheet.panels) / columns)
    rows = blocks * len(shown)
    labels = {series.rank for panel in sheet.panels for series in panel.series}
    # One panel fits a column of the paper, unless its legend would be longer than the figure.
    single = layout.COLUMN if len(labels) <= 8 else 5.6
    width = {1: single, 2: 5.6, 3: layout.PAGE}[columns]
    figure = layout.blank(width, rows * (1.75 if columns > 1 else 2.1))
    grid = figure.subplots(rows, columns, squeeze=False)
    tables = []
    for q, quantity in enumerate(shown):
        used, found = [], []
        for p, panel in enumerate(sheet.panels):
            axes = grid[(p // columns) * len(shown) + q, p % columns]
            used.append(axes)
            found.append(_panel(axes, panel, quantity))
            if q == 0:
                axes.set_title(layout.wrapped(panel.title, width / columns - 0.3, 7.5))
            if p % columns == 0:
                axes.set_ylabel(quantity.label)
            else:
                axes.tick_params(labelleft=False)
            below = p + columns >= len(sheet.panels)
            if q == len(shown) - 1 and below:
                axes.set_xlabel("data-time (tokens)")
        tables.append(pd.concat(found, ignore_index=True))
        _heights(used, quantity, tables[-1])
    for p in range(len(sheet.panels), blocks * columns):
        for q in range(len(shown)):
            grid[(p // columns) * len(shown) + q, p % columns].remove()
    figure.align_ylabels()
    layout.frame(figure, layout.legend(sheet), _caption(sheet, shown))
    return layout.save(
        figure, pd.concat(tables, ignore_index=True).drop(columns="end", errors="ignore"), stem
    )


def curve(series: Series, quantity: Quantity) -> Curve | None:
    """The series on the grid of its runs' tokens (thinned to 400); None without any row of it."""
    tracks = [track for run in series.runs if (track := _track(run, quantity))]
    if not tracks:
        return None
    grid_G = np.unique(np.concatenate([track.tokens for track in tracks]))
    # From where every seed has begun, lest the median jumps as they come in.
    grid_G = grid_G[grid_G >= max(track.tokens[0] for track in tracks)]
    if len(grid_G) > _GRID:
        grid_G = grid_G[np.linspace(0, len(grid_G) - 1, _GRID).round().astype(int)]
    values_SG = np.array([track.at(grid_G) for track in tracks])
    median_G, low_G, high_G = median_band(values_SG)
    return Curve(
        grid_G,
        median_G,
        low_G,
        high_G,
        np.isfinite(values_SG).sum(axis=0),
        [(track.tokens[-1], track.values[-1]) for track in tracks if track.diverged],
    )


@dataclass(frozen=True)
class _Track:
    """The rows of one run that have a value."""

    tokens: Array  # (N,)
    values: Array  # (N,)
    end: float  # tokens up to which the last value holds
    diverged: bool

    def at(self, grid_G: Array) -> Array:
        values_G = carried(self.tokens, self.values, grid_G)
        return np.where(grid_G <= self.end, values_G, np.nan)


def _track(run: Run, quantity: Quantity) -> _Track | None:
    if quantity.key not in run.metrics:
        return None
    tokens = run.metrics["tokens"].to_numpy(float)
    values = run.metrics[quantity.key].to_numpy(float)
    known = np.isfinite(values)
    if not known.any():
        return None
    end, tokens, values = float(tokens[-1]), tokens[known], values[known]
    if quantity.smooth:
        values = smoothed(tokens, values, _SMOOTHING * end)
    # Finished seeds end less than a sequence apart: there the last value holds on.
    holds = math.inf if run.status == FINISHED else end
    return _Track(tokens, values, holds, run.status == DIVERGED)


def _panel(axes: Axes, panel: Panel, quantity: Quantity) -> pd.DataFrame:
    end = max(run.metrics["tokens"].iloc[-1] for series in panel.series for run in series.runs)
    tables = []
    drawstyle = "steps-post" if quantity.step else "default"
    for number, series in enumerate(panel.series):
        points = curve(series, quantity)
        if points is None:
            continue
        style = look(series.family, series.variant)
        # About six markers a line, at other places for each line.
        every = max(1, len(points.tokens) // 6)
        start = every * number // len(panel.series)
        axes.plot(
            points.tokens,
            points.median,
            **style.line_kwargs(),
            markevery=(start, every),
            drawstyle=drawstyle,
        )
        axes.fill_between(
            points.tokens,
            points.low,
            points.high,
            step="post" if quantity.step else None,
            color=style.colour,
            alpha=0.15,
            linewidth=0,
        )
        for tokens, value in points.stops:
            axes.plot(tokens, value, "x", color=style.colour, markersize=6, markeredgewidth=1.4)
        tables.append(_table(panel, series, quantity, points, end))
    axes.set_xlim(-0.03 * end, 1.03 * end)
    layout.linear(axes.xaxis)
    return pd.concat([pd.DataFrame(), *tables], ignore_index=True)


def _table(
    panel: Panel, series: Series, quantity: Quantity, points: Curve, end: int
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "panel": panel.title,
            "series": series.label,
            "quantity": quantity.key,
            "tokens": points.tokens.astype("int64"),
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


def _heights(used: Sequence[Axes], quantity: Quantity, table: pd.DataFrame) -> None:
    """Give the panels of one quantity one y axis, so that they can be compared."""
    low = min(axes.get_ylim()[0] for axes in used)
    high = max(axes.get_ylim()[1] for axes in used)
    if not quantity.step and len(table):
        # The first descent, which every rule makes, would press what tells them apart flat.
        late = table[table["tokens"] >= _DESCENT * table["end"]]
        low, high = late[["median", "low"]].min(axis=None), late[["median", "high"]].max(axis=None)
        high = min(quantity.ceiling, high)
        margin = 0.05 * max(high - low, 0.1)
        low, high = low - margin, high + margin
    for axes in used:
        axes.set_ylim(low, max(high, low + 1e-3))
        layout.linear(axes.yaxis, integer=quantity.step)


def _caption(sheet: Sheet, shown: Sequence[Quantity]) -> str:
    series = [series for panel in sheet.panels for series in panel.series]
    parts = [layout.seeds_caption(series, "the line", "the band")]
    if any(quantity.smooth for quantity in shown):
        parts.append(
            f"Training bpc: mean over the last {100 * _SMOOTHING:g} % of a run's data-time."
        )
    if not all(quantity.step for quantity in shown):
        parts.append(f"Axes are fitted to what follows the first {100 * _DESCENT:g} %.")
    if any(one.diverged for one in series):
        parts.append("A cross: a seed diverged here, and the line goes on without it.")
    return " ".join(parts)
