"""The curves of a page as plain data: lines in panels, as figures group, name and colour them.

A chart has panels, which lie beside each other. A *line* is the median of a series with its band,
a *thread* one run of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import to_hex

from snaprun.figures import alignment, layout, learning, words
from snaprun.figures.aligned import Line as Compared
from snaprun.figures.aligned import lines
from snaprun.figures.curves import (
    SECONDS,
    TOKENS,
    UPDATES,
    Curve,
    curve,
    shown,
    track,
)
from snaprun.figures.select import Series
from snaprun.figures.stats import Array
from snaprun.figures.style import Look
from snaprun.metrics import Metric
from snaprun.report.arrays import Arrays, kept, most_points
from snaprun.report.gather import Part
from snaprun.store.reader import Run
from snaprun.store.schema import DIVERGED, WHOLE

COUNTERS = (TOKENS, UPDATES, SECONDS)
MOST = 300  # points of a curve: about what a screen shows of a panel
# Points of all lines, and of all threads: a page with hundreds of runs stays within 8 MB.
LINES, THREADS = 40_000, 50_000

_SYMBOLS = {  # of plotly.js, by the markers of matplotlib
    **{"o": "circle", "s": "square", "D": "diamond", "d": "diamond-tall", "*": "star"},
    **{"^": "triangle-up", "v": "triangle-down", "<": "triangle-left", ">": "triangle-right"},
    **{"X": "x", "P": "cross", "p": "pentagon", "h": "hexagon", "H": "hexagon2", "8": "octagon"},
}
_WIDTH = 2  # pixels of a line

Limits = tuple[float, float] | None


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    axis: str  # the label of the y axis
    log: bool = False
    limits: Limits = None  # of the y axis; None: all that is drawn
    limits_of_runs: Limits = None  # the same where threads are shown


@dataclass(frozen=True)
class Points:
    """A line against one counter; all arrays have shape (N,)."""

    at: Array
    middle: Array
    low: Array
    high: Array
    stops: Sequence[tuple[float, float]] = ()  # (at, value) at which a diverged run ended


@dataclass(frozen=True)
class Line:
    """One series in one panel."""

    panel: int
    rank: int  # its place in the legend; lines of equal rank are hidden together
    label: str
    look: Look
    points: Mapping[str, Points]  # by counter


@dataclass(frozen=True)
class Thread:
    """One run in one panel."""

    run: Run
    panel: int
    rank: int
    at: Mapping[str, Array]  # (N,) by counter
    values: Array  # (N,)


@dataclass(frozen=True)
class Chart:
    """Panels with one legend."""

    title: str
    panels: Sequence[Panel]
    lines: Sequence[Line]
    threads: Sequence[Thread] = ()
    steps: bool = False  # values hold until the next point
    alike: bool = False  # all panels show one quantity, and so have one y axis


@dataclass(frozen=True)
class Packed:
    """All charts of a page."""

    charts: list[dict[str, Any]]
    arrays: list[str]
    line_points: int  # at most, of a line
    thread_points: int  # at most, of a thread
    counters: Mapping[str, str]  # the labels of those that some line has


def of_learning(part: Part) -> Iterator[Chart]:
    """Yield a chart for each metric that figures of the task show."""
    sheet = part.sheet
    labels = [layout.named(alike) for alike in layout.by_rank(sheet)]
    ranks = {series: n for n, same in enumerate(layout.by_rank(sheet)) for series in same}
    for metric in shown(sheet):
        found, threads, drawn = list[Line](), list[Thread](), list[learning.Panel]()
        for panel, facet in enumerate(sheet.facets):
            of_tokens = list[tuple[Series, Curve]]()
            for series in facet.series:
                rank = ranks[series]
                curves = _curves(series, metric)
                if curves:
                    points = {key: _points(one) for key, one in curves.items()}
                    found.append(Line(panel, rank, labels[rank], series.look, points))
                    of_tokens.append((series, curves[TOKENS.key]))
                threads += [
                    thread
                    for run in series.runs
                    if (thread := _thread(run, metric, panel, rank)) is not None
                ]
            drawn.append(learning.Panel(facet, metric, TOKENS, of_tokens))
        limits, wider = _limits(drawn, threads, metric)
        panels = [
            Panel(facet.title, metric.axis, limits=limits, limits_of_runs=wider)
            for facet in sheet.facets
        ]
        title = f"{part.name}: {metric.axis}"
        yield Chart(title, panels, found, threads, metric.holds, alike=True)


def of_alignment(part: Part) -> Iterator[Chart]:
    """Yield a chart for each series along which gradients were compared."""
    for facet in part.sheet.facets:
        for series in facet.series:
            drawn = lines(series.runs)
            if drawn:
                yield _compared(f"{part.name}, {facet.title}: trained with {series.label}", drawn)


def pack(charts: Sequence[Chart], numbers: Mapping[Run, int]) -> Packed:
    """Return charts as JSON has them, thinned; `numbers` are those of the runs in the page."""
    lengths = [
        len(points.at)
        for chart in charts
        for line in chart.lines
        for points in line.points.values()
    ]
    line_points = most_points(lengths, LINES, MOST)
    lengths = [len(thread.values) for chart in charts for thread in chart.threads]
    thread_points = most_points(lengths, THREADS, MOST)
    arrays = Arrays()
    packed = [
        {
            "title": chart.title,
            "steps": chart.steps,
            "alike": chart.alike,
            "panels": [vars(panel) for panel in chart.panels],
            "lines": [_line(line, arrays, line_points) for line in chart.lines],
            "threads": [
                _packed(thread, numbers[thread.run], arrays, thread_points)
                for thread in chart.threads
            ],
        }
        for chart in charts
    ]
    known = {key for chart in charts for line in chart.lines for key in line.points}
    counters = {counter.key: counter.label for counter in COUNTERS if counter.key in known}
    return Packed(packed, arrays.texts, line_points, thread_points, counters)


def dressed(look: Look) -> dict[str, str]:
    """Return the look of a line in the words of plotly.js."""
    dash = look.line if isinstance(look.line, str) else look.line[1]
    lengths = [f"{_WIDTH * length:g}px" for length in dash] if dash != "-" else []
    symbol = _SYMBOLS.get(look.marker, "circle") + ("-open" if look.fill != "full" else "")
    return {"colour": to_hex(look.colour), "dash": ",".join(lengths) or "solid", "symbol": symbol}


def _curves(series: Series, metric: Metric) -> dict[str, Curve]:
    found = {counter.key: curve(series, metric, counter) for counter in COUNTERS}
    return {key: one for key, one in found.items() if one is not None}


def _points(of: Curve) -> Points:
    return Points(of.at, of.median, of.low, of.high, of.stops)


def _thread(run: Run, metric: Metric, panel: int, rank: int) -> Thread | None:
    tracks = {counter.key: track(run, metric, counter) for counter in COUNTERS}
    of_tokens = tracks[TOKENS.key]
    if of_tokens is None:
        return None
    at = {key: found.at for key, found in tracks.items() if found}
    return Thread(run, panel, rank, at, of_tokens.values)


def _limits(
    drawn: Sequence[learning.Panel], threads: Sequence[Thread], metric: Metric
) -> tuple[Limits, Limits]:
    """Return the ends of the y axis that figures have, for lines alone and with threads."""
    of_lines = learning.fitted(drawn)
    if of_lines is None:
        return None, None
    lasted = [thread for thread in threads if thread.run.status != DIVERGED]
    at = [(thread.at[TOKENS.key], thread.values) for thread in lasted]
    values = [values[learning.late(tokens, tokens[-1])] for tokens, values in at if len(tokens)]
    of_runs = learning.around(np.concatenate([np.empty(0), *values]), metric) or of_lines
    return of_lines, (min(of_lines[0], of_runs[0]), max(of_lines[1], of_runs[1]))


def _compared(title: str, drawn: Mapping[tuple[str, str, str], Compared]) -> Chart:
    """Return the chart of the gradients of rules, over all parameters, beside the exact one."""
    looks = alignment.looks_of({rule for rule, _, _ in drawn})
    panels, found = list[Panel](), list[Line]()
    for kind, (name, axis) in alignment.QUANTITIES.items():
        rules = [rule for rule in looks if kind != "variance" or alignment.is_noisy(drawn, rule)]
        if not rules:
            continue
        of_kind = {rule: drawn[rule, WHOLE, kind] for rule in rules}
        for rank, (rule, look) in enumerate(looks.items()):
            if rule in of_kind:
                line = of_kind[rule]
                points = Points(line.tokens, line.value, line.low, line.high)
                label = words.called(rule).text
                found.append(Line(len(panels), rank, label, look, {TOKENS.key: points}))
        values = np.concatenate([line.value for line in of_kind.values()])
        log = kind in ("norm_ratio", "variance") and layout.is_wide(values.tolist())
        panels.append(Panel(name, axis, log))
    return Chart(title, panels, found)


def _line(line: Line, arrays: Arrays, most: int) -> dict[str, Any]:
    points = {}
    for counter, of in line.points.items():
        index = kept(len(of.at), most)
        columns = [arrays.add(column[index]) for column in (of.at, of.middle, of.low, of.high)]
        points[counter] = {"columns": columns, "stops": of.stops}
    own = {"panel": line.panel, "rank": line.rank, "label": line.label, "points": points}
    return own | dressed(line.look)


def _packed(thread: Thread, number: int, arrays: Arrays, most: int) -> dict[str, Any]:
    index = kept(len(thread.values), most)
    return {
        "run": number,
        "panel": thread.panel,
        "rank": thread.rank,
        "at": {counter: arrays.add(at[index]) for counter, at in thread.at.items()},
        "values": arrays.add(thread.values[index]),
    }
