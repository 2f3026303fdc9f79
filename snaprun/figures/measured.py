"""The figure of `snaprun bench`: colours tell rules apart, markers tell engines apart."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from snaprun.figures import words
from snaprun.figures.layout import PAGE, blank, cost_axis, frame, save, words_at_left
from snaprun.figures.style import BLACK, COUNTED, INK, NONE, Look, compact, look

ENGINES: dict[str, dict[str, Any]] = {  # and backends
    "native": {"marker": "o", "markersize": 4, "zorder": 3.2},
    # A ring below the others, which is seen around the dot of an equal number.
    "torch": {"marker": "o", "markersize": 7, "markerfacecolor": "white", "zorder": 3},
    "torch.nn": {"marker": "x", "markersize": 4.5, "zorder": 3.2},
    "jax": {"marker": "+", "markersize": 6, "zorder": 3.2},
}
CAPTION = (
    "Times are medians over interleaved rounds, bars their quartiles; torch.nn and JAX are dense. "
    "Copy has 4 inputs, characters 256."
)
_VALUES = ("value", "low", "high", "counted")
TIME, STATE = "µs per step", "bytes of rule state"


@dataclass(frozen=True)
class Chart:
    """One chart: a title, the plotted numbers and the function that draws them."""

    title: str
    points: pd.DataFrame  # what, rule, engine, value, low, high, counted; x for lines
    draw: Callable[[Axes, pd.DataFrame], None]
    label: str  # of the axis of values


def draw(tables: Mapping[str, pd.DataFrame], stem: Path) -> list[Path]:
    """Draw a chart for each thing measured, two in a row, and write the files; [] without any.

    A single number has no chart.
    """
    charts = [chart for chart in _charts(tables) if len(chart.points) > 1]
    if not charts:
        return []
    rows = -(-len(charts) // 2)
    figure = blank(PAGE, 2.0 * rows)
    grid = figure.subplots(rows, 2, squeeze=False).flatten()
    for axes, chart in zip(grid, charts, strict=False):
        chart.draw(axes, chart.points)
        axes.set_title(chart.title, loc="left")
        (axes.set_ylabel if chart.draw is _lines else axes.set_xlabel)(chart.label)
    for axes in grid[len(charts) :]:
        axes.remove()
    frame(figure, _legend(charts), CAPTION)
    plotted = [chart.points.assign(panel=chart.title) for chart in charts]
    columns = ["panel", "what", "rule", "engine", "x", *_VALUES]
    table = pd.concat([points.reindex(columns=columns) for points in plotted], ignore_index=True)
    return save(figure, table, stem)


def _charts(tables: Mapping[str, pd.DataFrame]) -> list[Chart]:
    found: list[Chart] = []
    if "kernel" in tables:
        found.append(_kernel(tables["kernel"]))
    if "memory" in tables:
        _, first = next(iter(tables["memory"].groupby(["network", "task"], sort=False)))
        points = _points(first, _rules(first), "state_bytes")
        title = f"rule state: {_network(first)}, {first['task'].iloc[0]}"
        found.append(Chart(title, points, _dots, STATE))
    if "step" in tables:
        found += _steps(tables["step"], "step")
    if "python" in tables:
        found += _steps(tables["python"], "from Python")
    if "ratios" in tables:
        of_bptt = tables["ratios"]
        of_bptt = of_bptt.loc[of_bptt["what"] == words.SNAP1_OVER_BPTT]
        if len(of_bptt):
            found.append(_of_bptt(of_bptt))
    if "peers" in tables:
        found += _steps(tables["peers"], "JAX")
    if "growth" in tables:
        for axis, grown in tables["growth"].groupby("axis", sort=False):
            for column, label, what in (("us", TIME, "time"), ("state_bytes", STATE, "rule state")):
                points = _points(grown, _rules(grown), column)
                if axis == "units":
                    points["x"] = grown["units"].tolist()
                    found.append(Chart(f"{what}, equal live parameters", points, _lines, label))
                else:
                    found.append(Chart(f"{what}, by n: {_network(grown)}", points, _dots, label))
    return found


def _kernel(table: pd.DataFrame) -> Chart:
    both = zip(table["network"], table["lanes"], strict=True)
    fraction = table["fraction"].astype(float)  # None if the ceiling was not reached
    known = fraction.notna()
    points = pd.DataFrame(
        {
            "what": [f"{words.benched(name)}, {words.of_lanes(lanes)}" for name, lanes in both],
            "rule": "snap2",
            "engine": table["backend"],
            "value": fraction,
            # The quartiles of the time, inverted.
            "low": (table["roofline_ms"] / table["ms_high"]).where(known),
            "high": (table["roofline_ms"] / table["ms_low"]).where(known),
            "counted": math.nan,
        }
    )
    return Chart("kernel: SnAp-2", points, _fractions, "fraction of the roofline")


def _steps(table: pd.DataFrame, about: str) -> list[Chart]:
    """Return a chart for each task and number of lanes, of the network with the most rules."""
    name = table.groupby("network", sort=False)["rule"].nunique().idxmax()
    charts = []
    widest = table.loc[table["network"] == name]
    for (task, lanes), rows in widest.groupby(["task", "lanes"], sort=False):
        both = zip(rows["rule"], rows["update_every"], strict=True)
        what = [f"{_rule(rule)}, T={int(every)}" for rule, every in both]
        points = _points(rows, what, "us")
        title = f"{about}: {_network(rows)}, {task}, {words.of_lanes(lanes)}"
        charts.append(Chart(title, points, _dots, f"{TIME}, an update every T steps"))
    return charts


def _of_bptt(table: pd.DataFrame) -> Chart:
    """Return the chart of SnAp-1's time over BPTT's: a row for each cell, task and lanes."""
    each = zip(table["network"], table["task"], table["lanes"], strict=True)
    what = [
        f"{words.benched_cell(network)}, {task}, {words.of_lanes(lanes)}"
        for network, task, lanes in each
    ]
    points = _points(table.assign(rule="snap1"), what, "ratio")
    units, _, level = _network(table).partition("-")[2].partition(" ")
    title = f"SnAp-1 / BPTT: {units} units {level}"
    return Chart(title, points, _beside_one, "time over that of BPTT, T=128")


def _points(table: pd.DataFrame, what: Sequence[str], column: str) -> pd.DataFrame:
    values = table[column]
    columns = {"rule": table["rule"], "engine": table["engine"], "value": values}
    columns |= {end: table.get(f"{column}_{end}", values) for end in ("low", "high")}
    columns["counted"] = table.get(f"{column}_analytic", math.nan * values)
    return pd.DataFrame({"what": what, **{name: list(cells) for name, cells in columns.items()}})


def _fractions(axes: Axes, points: pd.DataFrame) -> None:
    """Draw fractions of the roofline; if the ceiling was not reached, words say so instead."""
    _rows(axes, points)
    axes.axvline(1, color=BLACK, linewidth=0.8)
    axes.set_xlim(0, 1.05)
    names = list(dict.fromkeys(points["what"]))
    lacking = points.loc[points["value"].isna()].groupby("what", sort=False)["engine"]
    for what, engines in lacking:
        every = len(engines) == (points["what"] == what).sum()
        text = ("" if every else f"{', '.join(engines)}: ") + words.CEILING_NOT_REACHED
        axes.text(0.99, names.index(str(what)), text, ha="right", va="center", size=5, color=INK)


def _beside_one(axes: Axes, points: pd.DataFrame) -> None:
    """Draw ratios on a logarithmic axis, and a line at 1."""
    _rows(axes, points)
    axes.axvline(1, color=BLACK, linewidth=0.8)
    axes.set_xscale("log")
    low, high = min(points["low"]), max(points["high"])
    axes.set_xlim(min(0.5, low / 1.2), max(2.0, high * 1.2))
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if low / 2 < tick < 2 * high]
    axes.set_xticks(ticks, map(compact, ticks))
    axes.xaxis.set_minor_locator(NullLocator())


def _dots(axes: Axes, points: pd.DataFrame) -> None:
    """Draw a row for each thing and a marker for each engine; a word stands for a zero."""
    log = cost_axis(axes, points["value"])
    values = points[list(_VALUES)].to_numpy(dtype=float)
    positive = values[values > 0]
    if log:
        axes.set_xlim(positive.min() / 1.6, positive.max() * 1.6)
    elif positive.size:
        axes.set_xlim(0, 1.1 * positive.max())
    if not log:
        _rows(axes, points)
        return
    _rows(axes, points.assign(**{c: points[c].where(points[c] > 0) for c in _VALUES}))
    names = list(dict.fromkeys(points["what"]))
    for what in dict.fromkeys(points.loc[points["value"] == 0, "what"]):
        words_at_left(axes, names.index(what), NONE)


def _rows(axes: Axes, points: pd.DataFrame) -> None:
    names = list(dict.fromkeys(points["what"]))
    columns = (points[name] for name in ("what", "rule", "engine", *_VALUES))
    for what, rule, engine, value, low, high, counted in zip(*columns, strict=True):
        place, colour = names.index(what), _look(rule).colour
        axes.plot([low, high], [place, place], color=colour, linewidth=1)
        marker = {"color": colour, "linestyle": "none", "clip_on": False, "zorder": 3}
        axes.plot(value, place, **(marker | ENGINES.get(engine, {})))
        axes.plot(counted, place, **COUNTED)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def _lines(axes: Axes, points: pd.DataFrame) -> None:
    """Draw values against units, both logarithmic, a line for each rule and engine."""
    both = dict.fromkeys(zip(points["rule"], points["engine"], strict=True))
    for rule, engine in both:
        line = points.loc[(points["rule"] == rule) & (points["engine"] == engine)]
        style = {"color": _look(rule).colour, "linestyle": _look(rule).line}
        axes.plot(line["x"], line["value"], **(style | ENGINES.get(engine, {})))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(compact))
    ticks = sorted(set(points["x"]))
    axes.set_xticks(ticks, map(str, ticks))
    axes.minorticks_off()
    axes.set_xlabel("units")


def _legend(charts: Sequence[Chart]) -> list[Artist]:
    used = {engine for chart in charts for engine in chart.points["engine"]}
    lined = [chart.points["rule"] for chart in charts if chart.draw is _lines]
    dots = [
        Line2D([], [], **({"color": INK, "linestyle": "none"} | ENGINES[name]), label=name)
        for name in ENGINES
        if name in used
    ]
    if any(chart.points["counted"].notna().any() for chart in charts if chart.draw is _dots):
        dots.append(Line2D([], [], **COUNTED, label="counted from the masks"))
    lines = [
        Line2D([], [], color=_look(rule).colour, linestyle=_look(rule).line, label=_rule(rule))
        for rule in dict.fromkeys(rule for rules in lined for rule in rules)
    ]
    return [*dots, *lines]


def _rules(table: pd.DataFrame) -> list[str]:
    return [_rule(str(word)) for word in table["rule"]]


def _network(table: pd.DataFrame) -> str:
    return words.benched(str(table["network"].iloc[0]))


def _rule(word: str) -> str:
    return word if word == "autograd" else words.called(word).text


def _look(word: str) -> Look:
    if word == "autograd":
        return look("other")
    rule = words.called(word)
    return look(rule.family, rule.degree)
