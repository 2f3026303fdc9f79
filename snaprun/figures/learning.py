"""Learning speed: what a rule has learned against data-time, and against updates.

The tasks of the runs declare the metrics that the figure shows: the copy task the L that frozen
weights master on held-out sequences, and the L that the curriculum has reached.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from snaprun.figures import layout, marks
from snaprun.figures.curves import TOKENS, UPDATES, Counter, Curve, curve, extent, rows
from snaprun.figures.select import Facet, Series, Sheet
from snaprun.figures.stats import Array, band_name
from snaprun.figures.style import BAND
from snaprun.metrics import Metric
from snaprun.store.schema import DIVERGED

_HEIGHT = 1.9  # inches of a facet with its margins
_DESCENT = 0.1  # the first share of a curve's data-time, where it may lie beyond its axis
_CROSS: dict[str, Any] = dict(
    marker="x", markersize=6, markeredgewidth=1.4, linestyle="none", clip_on=False, zorder=4
)


@dataclass(frozen=True, eq=False)
class Panel:
    """The curves of a facet, of one metric against one counter."""

    facet: Facet
    metric: Metric
    counter: Counter
    curves: Sequence[tuple[Series, Curve]]

    @property
    def ends(self) -> list[float]:
        """The counter at the end of each run."""
        key = self.counter.key
        return [run.columns[key][-1] for series in self.facet.series for run in series.runs]

    @property
    def several(self) -> bool:
        """Whether there is more than one point to draw."""
        return sum(int(np.isfinite(points.median).sum()) for _, points in self.curves) > 1


def draw(sheet: Sheet, stem: Path) -> list[Path]:
    """Draw the learning curves of a task and write the three files; [] for a single point."""
    found = [[panel_of(facet, *row) for facet in sheet.facets] for row in rows(sheet)]
    shown = [panels for panels in found if any(panel.several for panel in panels)]
    if not shown:
        return []
    columns = min(3, len(sheet.facets))
    blocks = math.ceil(len(sheet.facets) / columns)
    names = {series.name for facet in sheet.facets for series in facet.series}
    # One facet fits a column of the paper, unless its legend would be longer than the figure.
    single = layout.COLUMN if len(names) <= 12 and max(map(len, names)) <= 24 else 5.6
    width = {1: single, 2: 5.6, 3: layout.PAGE}[columns]
    figure = layout.blank(width, blocks * len(shown) * (1.75 if columns > 1 else _HEIGHT))
    grid = figure.subplots(blocks * len(shown), columns, squeeze=False)
    drawn = defaultdict[Metric, dict[Axes, Panel]](dict)
    for number, panels in enumerate(shown):
        counter = panels[0].counter
        for p, panel in enumerate(panels):
            axes = grid[(p // columns) * len(shown) + number, p % columns]
            drawn[panel.metric][axes] = panel
            _lines(axes, panel)
            if number == 0:
                axes.set_title(layout.wrapped(panel.facet.title, width / columns - 0.3, 7.5))
            if p % columns == 0:
                axes.set_ylabel(layout.wrapped(panel.metric.axis, _HEIGHT, 7.5))
            else:
                axes.tick_params(labelleft=False)
            last = number + 1 == len(shown) or shown[number + 1][0].counter is not counter
            if last and (p + columns >= len(sheet.facets) or counter is UPDATES):
                axes.set_xlabel(counter.label)
    beyond = {name for of_metric in drawn.values() for name in _heights(of_metric)}
    for p in range(len(sheet.facets), blocks * columns):
        for number in range(len(shown)):
            grid[(p // columns) * len(shown) + number, p % columns].remove()
    figure.align_ylabels()
    panels = [panel for row in found for panel in row]
    handles = layout.legend(sheet, notes=_notes(panels, beyond))
    layout.frame(figure, handles, _caption(sheet, shown, bool(beyond)))
    return layout.save(figure, tables(panels), stem)


def alone(axes: Axes, panel: Panel) -> None:
    """Draw one panel in another figure."""
    _lines(axes, panel)
    _heights({axes: panel})
    axes.set_ylabel(layout.wrapped(panel.metric.axis, _HEIGHT, 7.5))


def panel_of(facet: Facet, metric: Metric, counter: Counter = TOKENS) -> Panel:
    """Return the curves of a facet, of one metric against one counter."""
    found = [(series, curve(series, metric, counter)) for series in facet.series]
    known = [(series, points) for series, points in found if points is not None]
    return Panel(facet, metric, counter, known)


def _lines(axes: Axes, panel: Panel) -> None:
    """Draw the curves with their bands, on an axis of the counter as long as the longest run."""
    ends = panel.ends
    if panel.counter is UPDATES and min(ends) * 10 < max(ends):
        axes.set_xscale("log")
        positive = [at for _, points in panel.curves for at in points.at if at > 0]
        axes.set_xlim(min(positive, default=1), 1.1 * max(ends))
    else:
        axes.set_xlim(-0.03 * max(ends), 1.03 * max(ends))
    layout.counts(axes.xaxis)
    step = panel.metric.holds
    for number, (series, points) in enumerate(panel.curves):
        phase = (number + 0.5) / len(panel.curves)
        marks.line(axes, points.at, points.median, series.look, phase, step)
        band: dict[str, Any] = {"step": "post" if step else None, "color": series.look.colour}
        axes.fill_between(points.at, points.low, points.high, **band, **BAND)


def tables(panels: Iterable[Panel]) -> pd.DataFrame:
    """Return the plotted numbers of panels."""
    found = [_table(panel, *one) for panel in panels for one in panel.curves]
    return pd.concat([pd.DataFrame(), *found], ignore_index=True)


def _table(panel: Panel, series: Series, points: Curve) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "panel": panel.facet.title,
            "series": series.label,
            "quantity": panel.metric.key,
            "counter": panel.counter.key,
            "at": points.at.astype("int64"),
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


def _heights(drawn: Mapping[Axes, Panel]) -> set[str]:
    """Give the panels of one metric one y axis, and return the names of curves that end beyond it.

    Such a curve has a mark at the edge. A cross stands where a seed diverged.
    """
    (metric,) = {panel.metric for panel in drawn.values()}
    low = min(axes.get_ylim()[0] for axes in drawn)
    high = max(axes.get_ylim()[1] for axes in drawn)
    low, high = fitted([*drawn.values()]) or (low, high)
    beyond = set[str]()
    short = max(0.0, (1.0 if metric.jumps else 1e-3) - (high - low))
    for axes, panel in drawn.items():
        axes.set_ylim(low - short / 2, high + short / 2)
        layout.linear(axes.yaxis, integer=metric.jumps)
        ends = [(*_last(points), series.look) for series, points in panel.curves]
        at_edge = marks.at_edges(axes, ends)
        beyond |= {one.name for (one, _), off in zip(panel.curves, at_edge, strict=True) if off}
        for series, points in panel.curves:
            for at, value in points.stops:
                axes.plot(at, min(max(value, low), high), color=series.look.colour, **_CROSS)
    return beyond


def fitted(panels: Sequence[Panel]) -> tuple[float, float] | None:
    """Return the ends of the y axis that panels of one metric share; None if nothing asks for any.

    The axis of a metric that holds its value shows all of it.
    """
    (metric,) = {panel.metric for panel in panels}
    return None if metric.holds else around(_fitted(panels), metric)


def around(values: Array, metric: Metric) -> tuple[float, float] | None:
    """Return the ends of an axis that shows all known `values` up to the metric's ceiling."""
    found = layout.reach(values, metric.ceiling)
    if found is None:
        return None
    margin = 0.05 * max(found[1] - found[0], 0.1)
    return found[0] - margin, found[1] + margin


def late(at: Array, end: float) -> NDArray[np.bool_]:
    """Return which points of a curve up to `end` lie behind its first descent."""
    return at >= _DESCENT * end


def _fitted(panels: Iterable[Panel]) -> Array:
    """Return the values that the axis of a metric is fitted to.

    The first descent of every rule is so deep that it would flatten all later differences, and so
    would a run on its way to divergence.
    """
    values, others = [np.empty(0)], [np.empty(0)]
    for panel in (panel for panel in panels if panel.counter is TOKENS):
        for series, points in panel.curves:
            lasted = [run.columns["tokens"][-1] for run in series.runs if run.status != DIVERGED]
            late_G = late(points.at, max(lasted, default=max(panel.ends)))
            if not series.diverged:
                values += [points.median[late_G], points.low[late_G], points.high[late_G]]
            elif series.lasted:
                values.append(points.median[late_G])
            else:
                others.append(points.median)
    found = np.concatenate(values)
    return found if np.isfinite(found).any() else np.concatenate(others)


def _last(points: Curve) -> tuple[Array, Array]:
    """Return the last point of a curve, as two arrays."""
    known_G = np.isfinite(points.median)
    return points.at[known_G][-1:], points.median[known_G][-1:]


def _notes(panels: Sequence[Panel], beyond: set[str]) -> dict[str, list[str]]:
    """Return what the legend says beside a name: whose curves it has, too, and that one is off."""
    names = {series.rank: series.name for panel in panels for series, _ in panel.curves}
    lines: dict[str, list[Array]] = {names[rank]: [] for rank in sorted(names)}
    for panel in panels:
        here = {series.name: points for series, points in panel.curves}
        for name, own in lines.items():
            points = here.get(name)
            own += [np.empty(0)] * 2 if points is None else [points.at, points.median]
    notes = {name: [f"= {other}"] for name, other in marks.equals(lines).items()}
    for name in beyond:
        notes.setdefault(name, []).append(marks.OFF)
    return notes


def _caption(sheet: Sheet, shown: Sequence[Sequence[Panel]], beyond: bool) -> str:
    series = [series for facet in sheet.facets for series in facet.series]
    parts = [layout.seeds_caption(series, "the line", "the band")]
    if sheet.chosen:
        parts.append("Each rule at the learning rate that was best for it on other seeds.")
    metrics = list(dict.fromkeys(panel.metric for panels in shown for panel in panels))
    for metric in metrics:
        if metric.smoothing:
            name, share = metric.label[:1].upper() + metric.label[1:], 100 * metric.smoothing
            parts.append(f"{name}: mean over the last {share:g} % of a run's data-time.")
    if not all(metric.holds for metric in metrics):
        parts.append(f"Axes are fitted to what follows the first {100 * _DESCENT:g} %.")
    if any(one.diverged for one in series):
        rest = any(0 < one.diverged < len(one.runs) for one in series)
        line = ", and the line goes on with the seeds that are left" * rest
        parts.append(f"A cross: a seed diverged here{line}.")
    if any(len(set(map(extent, one.runs))) > 1 for one in series):
        parts.append("Seeds differ in length: beyond the end of one, the line goes on without it.")
    if beyond:
        parts.append(marks.EDGES)
    parts.append(layout.pooled_caption(sheet))
    return " ".join(filter(None, parts)) + layout.text_caption(series)
