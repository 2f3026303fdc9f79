"""The cost of a rule: time and multiply-accumulates per token, and the memory of its state."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from snaprun.figures import layout
from snaprun.figures.select import Facet, Series, Sheet
from snaprun.figures.stats import Spread, band_name, over_seeds
from snaprun.figures.style import BLACK, COUNTED, INK, NONE, compact


@dataclass(frozen=True)
class CostColumn:
    """A key of the summary's cost, and the key of its analytic value, if there is one."""

    key: str
    label: str
    analytic: str = ""


TIME = CostColumn("ms_per_token", "ms per token")
MACS = CostColumn("macs_per_token", "MACs per token")
COSTS = (TIME, MACS, CostColumn("state_bytes", "rule state (bytes)", "state_bytes_analytic"))


def cost_of(series: Series, key: str) -> Spread:
    """Return one cost of a series, over the runs that have this cost in their summary."""
    found = [run.summary.cost.get(key) for run in series.runs if run.summary]
    return over_seeds([value for value in found if value is not None])


def draw(sheet: Sheet, stem: Path) -> list[Path]:
    """Draw the costs of a task's runs, a row for each facet, and write the three files."""
    counts = [len(facet.series) for facet in sheet.facets]
    heights = [0.42 + 0.19 * count for count in counts]
    figure = layout.blank(layout.PAGE, 0.3 + sum(heights))
    grid = figure.subplots(
        len(counts), len(COSTS), squeeze=False, sharey="row", sharex="col", height_ratios=heights
    )
    for column, cost in enumerate(COSTS):
        points = [
            (axes, place, series, cost_of(series, cost.key), cost_of(series, cost.analytic).median)
            for axes, facet in zip(grid[:, column], sheet.facets, strict=True)
            for place, series in enumerate(facet.series)
        ]
        values = [value for *_, s, analytic in points for value in (s.median, s.high, analytic)]
        log = layout.cost_axis(grid[0, column], values)
        _limits(grid[0, column], [value for value in values if value > 0], log)
        for axes, place, series, measured, analytic in points:
            _dot(axes, place, series, measured, analytic, log)
        grid[-1, column].set_xlabel(cost.label)
    for row, facet in zip(grid, sheet.facets, strict=True):
        row[0].set_yticks(range(len(facet.series)), [layout.named([s]) for s in facet.series])
        row[0].set_ylim(len(facet.series) - 0.4, -0.6)
        row[0].set_title(facet.title, loc="left")
        for axes in row:
            axes.tick_params(axis="y", length=0)
    layout.frame(figure, _legend(), _caption(sheet))
    return layout.save(figure, pd.concat(map(as_rows, sheet.facets), ignore_index=True), stem)


def as_rows(facet: Facet) -> pd.DataFrame:
    """Return a row for each series: each cost with its band over seeds and its analytic value."""
    rows = []
    for series in facet.series:
        row: dict[str, object] = {"panel": facet.title, "series": series.label}
        for cost in COSTS:
            row |= as_cells(cost.key, cost_of(series, cost.key))
            if cost.analytic:
                row[cost.analytic] = cost_of(series, cost.analytic).median
        rows.append(row | ends(series, len(series.runs) - series.incomplete))
    return pd.DataFrame(rows)


def as_cells(name: str, spread: Spread) -> dict[str, object]:
    """Return the median and the band as cells of a table's row."""
    return {name: spread.median, f"{name}_low": spread.low, f"{name}_high": spread.high}


def ends(series: Series, seeds: int) -> dict[str, object]:
    """Return the last cells of a row: the band over these seeds, and how the runs ended."""
    counts = {"diverged": series.diverged, "incomplete": series.incomplete}
    return {"band": band_name(seeds), "seeds": seeds, **counts}


def _limits(axes: Axes, positive: list[float], log: bool) -> None:
    """Leave room to the right of the dots for the numbers beside them."""
    if not positive:
        axes.set_xlim(0, 1)
    elif log:
        decades = math.log10(max(positive) / min(positive))
        axes.set_xlim(min(positive) / 10 ** (0.12 * decades), max(positive) * 10 ** (0.3 * decades))
    else:
        axes.set_xlim(0, 1.4 * max(positive))


def _dot(
    axes: Axes, place: int, series: Series, measured: Spread, analytic: float, log: bool
) -> None:
    # A logarithmic axis has no zero, so a word stands at its left edge.
    word = (
        "not known" if math.isnan(measured.median) else NONE if log and not measured.median else ""
    )
    if word:
        layout.words_at_left(axes, place, word)
        return
    style = series.look
    marker = {**style.marker_kwargs(), "markersize": 4.5, "clip_on": False, "zorder": 3}
    axes.plot(measured.median, place, **marker)
    if measured.low > 0:
        axes.plot([measured.low, measured.high], [place, place], color=style.colour, linewidth=1)
    if math.isfinite(analytic) and (analytic or not log):
        axes.plot(analytic, place, **COUNTED, markeredgewidth=0.9)
    rightmost = np.nanmax([measured.median, measured.high, analytic])
    number = {"textcoords": "offset points", **layout.SMALL}
    axes.annotate(compact(measured.median), (rightmost, place), (5, 0), **number)


def _legend() -> list[Line2D]:
    dot = {"color": INK, "marker": "o", "label": "measured (MACs: counted)"}
    tick = {"color": BLACK, "marker": "|", "markersize": 9, "label": "analytic value"}
    return [Line2D([], [], linestyle="none", **entry) for entry in (dot, tick)]


def _caption(sheet: Sheet) -> str:
    series = [series for facet in sheet.facets for series in facet.series]
    return (
        f"{layout.seeds_caption(series, 'the dot', 'the bar')} MACs skip zeros; "
        "bytes are those of all lanes. Times are those of the runs; "
        "other programs may have slowed them."
    )
