"""The cost of a rule: time and multiply-accumulates per token, and the memory of its state."""

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from snaprun.figures import layout
from snaprun.figures.select import Facet, Series, Sheet
from snaprun.figures.stats import Spread, band_name, over_seeds
from snaprun.figures.style import INK, compact


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
    return pd.DataFrame([_row(facet, series) for series in facet.series])


def _row(facet: Facet, series: Series) -> dict[str, object]:
    row: dict[str, object] = {"panel": facet.title, "series": series.label}
    for cost in COSTS:
        measured = cost_of(series, cost.key)
        row[cost.key] = measured.median
        row[f"{cost.key}_low"], row[f"{cost.key}_high"] = measured.low, measured.high
        if cost.analytic:
            row[cost.analytic] = cost_of(series, cost.analytic).median
    done = len(series.runs) - series.incomplete
    return row | {
        "band": band_name(done),
        "seeds": done,
        "diverged": series.diverged,
        "incomplete": series.incomplete,
    }


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
    if math.isnan(measured.median):
        at_edge = blended_transform_factory(axes.transAxes, axes.transData)
        axes.text(0.02, place, "not known", transform=at_edge, va="center", fontsize=6, color=INK)
        return
    style = series.look
    # A logarithmic axis has no zero: the left edge stands for it, and the number beside it says 0.
    edge = axes.get_xlim()[0] if log else 0
    axes.plot(
        measured.median or edge,
        place,
        **style.marker_kwargs(),
        markersize=4.5,
        clip_on=False,
        zorder=3,
    )
    if measured.low > 0:
        axes.plot([measured.low, measured.high], [place, place], color=style.colour, linewidth=1)
    if math.isfinite(analytic):
        axes.plot(
            analytic or edge,
            place,
            "|",
            color="black",
            markersize=10,
            markeredgewidth=0.9,
            clip_on=False,
            zorder=4,
        )
    rightmost = max(
        value for value in (measured.median, measured.high, analytic, edge) if value == value
    )
    axes.annotate(
        compact(measured.median),
        (rightmost, place),
        (5, 0),
        textcoords="offset points",
        va="center",
        fontsize=6,
        color=INK,
    )


def _legend() -> list[Line2D]:
    dot = Line2D([], [], color=INK, linestyle="none", marker="o", label="measured (MACs: counted)")
    tick = Line2D(
        [], [], color="black", linestyle="none", marker="|", markersize=9, label="analytic value"
    )
    return [dot, tick]


def _caption(sheet: Sheet) -> str:
    series = [series for facet in sheet.facets for series in facet.series]
    return (
        f"{layout.seeds_caption(series, 'the dot', 'the bar')} MACs skip zeros; "
        "bytes are those of all lanes. Times are those of the runs, whatever else ran beside them."
    )
