"""What the bench measured, drawn: colours tell rules apart, markers tell engines apart."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from snaprun.figures import words
from snaprun.figures.layout import PAGE, blank, cost_axis, frame, save
from snaprun.figures.style import BLACK, INK, Look, compact, look

ENGINES: dict[str, dict[str, Any]] = {  # and backends
    "native": {"marker": "o", "markersize": 4.5},
    "torch": {"marker": "o", "markersize": 4.5, "markerfacecolor": "white"},
    "torch.nn": {"marker": "x", "markersize": 4.5},
}
CAPTION = (
    "Times are medians over interleaved rounds, bars their quartiles; torch.nn is dense. Zero "
    "stands at the left edge of a logarithmic axis."
)
_VALUES = ("value", "low", "high", "counted")
TIME, STATE = "µs per step", "bytes of rule state"


@dataclass(frozen=True)
class Panel:
    """A title, the plotted numbers and the function that draws them."""

    title: str
    points: pd.DataFrame  # what, rule, engine, value, low, high, counted; x for lines
    draw: Callable[[Axes, pd.DataFrame], None]
    label: str  # of the axis of values


# The tick of a counted value.
COUNTED: dict[str, Any] = {
    "color": BLACK,
    "marker": "|",
    "markersize": 10,
    "linestyle": "none",
    "clip_on": False,
    "zorder": 4,
}


def draw(tables: Mapping[str, pd.DataFrame], stem: Path) -> list[Path]:
    """A panel for each thing measured, two in a row, and the three files; [] without any."""
    panels = _panels(tables)
    if not panels:
        return []
    rows = -(-len(panels) // 2)
    figure = blank(PAGE, 2.0 * rows)
    grid = figure.subplots(rows, 2, squeeze=False).flatten()
    for axes, panel in zip(grid, panels, strict=False):
        panel.draw(axes, panel.points)
        axes.set_title(panel.title, loc="left")
        (axes.set_ylabel if panel.draw is _lines else axes.set_xlabel)(panel.label)
    for axes in grid[len(panels) :]:
        axes.remove()
    frame(figure, _legend(panels), CAPTION)
    plotted = [panel.points.assign(panel=panel.title) for panel in panels]
    columns = ["panel", "what", "rule", "engine", "x", *_VALUES]
    table = pd.concat([points.reindex(columns=columns) for points in plotted], ignore_index=True)
    return save(figure, table, stem)


def _panels(tables: Mapping[str, pd.DataFrame]) -> list[Panel]:
    found: list[Panel] = []
    if "kernel" in tables:
        found.append(_kernel(tables["kernel"]))
    if "memory" in tables:
        memory = tables["memory"]
        first = memory.loc[memory["network"] == memory["network"].iloc[0]]
        points = _points(first, _rules(first), "state_bytes")
        found.append(Panel(f"rule state: {_network(first)}", points, _dots, STATE))
    if "step" in tables:
        found += _steps(tables["step"])
    if "growth" in tables:
        for axis, grown in tables["growth"].groupby("axis", sort=False):
            for column, label in (("us", TIME), ("state_bytes", STATE)):
                if axis == "units":
                    points = _points(grown, _rules(grown), column)
                    points["x"] = grown["units"].tolist()
                    title = "at constant live parameters"
                    found.append(Panel(title, points, _lines, label))
                else:
                    points = _points(grown, _rules(grown), column)
                    found.append(Panel(f"with n: {_network(grown)}", points, _dots, label))
    return found


def _kernel(table: pd.DataFrame) -> Panel:
    what = [
        f"{_pretty(name)}, {lanes} lane{'s' * (lanes > 1)}"
        for name, lanes in zip(table["network"], table["lanes"], strict=True)
    ]
    points = pd.DataFrame(
        {
            "what": what,
            "rule": "snap2",
            "engine": table["backend"],
            "value": table["fraction"],
            # Quartiles of the time, upside down.
            "low": table["roofline_ms"] / table["ms_high"],
            "high": table["roofline_ms"] / table["ms_low"],
            "counted": math.nan,
        }
    )
    return Panel("kernel: SnAp-2", points, _fractions, "fraction of the roofline")


def _steps(table: pd.DataFrame) -> list[Panel]:
    """The network with the most rules, a panel for each number of lanes."""
    trained = table.loc[table["optimiser"] != "none"]
    name = trained.groupby("network", sort=False)["rule"].nunique().idxmax()
    panels = []
    for lanes, of_lanes in trained.loc[trained["network"] == name].groupby("lanes", sort=False):
        what = [
            f"{_rule(rule)}, T={int(every)}"
            for rule, every in zip(of_lanes["rule"], of_lanes["update_every"], strict=True)
        ]
        points = _points(of_lanes, what, "us")
        title = f"training step: {_network(of_lanes)}, {lanes} lane{'s' * (int(str(lanes)) > 1)}"
        panels.append(Panel(title, points, _dots, f"{TIME}, an update every T steps"))
    return panels


def _points(table: pd.DataFrame, what: Sequence[str], column: str) -> pd.DataFrame:
    low, high, counted = f"{column}_low", f"{column}_high", f"{column}_analytic"
    return pd.DataFrame(
        {
            "what": what,
            "rule": table["rule"].tolist(),
            "engine": table["engine"].tolist(),
            "value": table[column].tolist(),
            "low": (table[low] if low in table else table[column]).tolist(),
            "high": (table[high] if high in table else table[column]).tolist(),
            "counted": (table[counted] if counted in table else math.nan * table[column]).tolist(),
        }
    )


def _fractions(axes: Axes, points: pd.DataFrame) -> None:
    _rows(axes, points)
    axes.axvline(1, color=BLACK, linewidth=0.8)
    axes.set_xlim(0, 1.1 * max(0.96, *points["high"]))


def _dots(axes: Axes, points: pd.DataFrame) -> None:
    """A row a thing, a marker an engine; zero stands at the left edge."""
    log = cost_axis(axes, points["value"])
    values = points[list(_VALUES)].to_numpy(dtype=float)
    positive = values[values > 0]
    if log:
        axes.set_xlim(positive.min() / 1.6, positive.max() * 1.6)
    elif positive.size:
        axes.set_xlim(0, 1.1 * positive.max())
    edge = axes.get_xlim()[0]
    _rows(axes, points.assign(**{c: points[c].where(~(points[c] <= 0), edge) for c in _VALUES}))


def _rows(axes: Axes, points: pd.DataFrame) -> None:
    names = list(dict.fromkeys(points["what"]))
    columns = (points[name] for name in ("what", "rule", "engine", *_VALUES))
    for what, rule, engine, value, low, high, counted in zip(*columns, strict=True):
        place, colour = names.index(what), _look(rule).colour
        axes.plot([low, high], [place, place], color=colour, linewidth=1)
        axes.plot(
            value,
            place,
            **({"color": colour, "linestyle": "none", "clip_on": False} | ENGINES.get(engine, {})),
            zorder=3,
        )
        axes.plot(counted, place, **COUNTED)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def _lines(axes: Axes, points: pd.DataFrame) -> None:
    """Values against units, both logarithmic, a line a rule and engine."""
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


def _legend(panels: Sequence[Panel]) -> list[Artist]:
    engines = [
        name for name in ENGINES if any(name in set(panel.points["engine"]) for panel in panels)
    ]
    rules = dict.fromkeys(
        rule for panel in panels if panel.draw is _lines for rule in panel.points["rule"]
    )
    dots = [
        Line2D([], [], **({"color": INK, "linestyle": "none"} | ENGINES[name]), label=name)
        for name in engines
    ]
    if any(panel.points["counted"].notna().any() for panel in panels if panel.draw is _dots):
        dots.append(Line2D([], [], **COUNTED, label="counted from the masks"))
    lines = [
        Line2D([], [], color=_look(rule).colour, linestyle=_look(rule).line, label=_rule(rule))
        for rule in rules
    ]
    return [*dots, *lines]


def _rules(table: pd.DataFrame) -> list[str]:
    return [_rule(str(word)) for word in table["rule"]]


def _network(table: pd.DataFrame) -> str:
    return _pretty(str(table["network"].iloc[0]))


def _pretty(network: str) -> str:
    """`gru-128@0.75` as `GRU-128 at 75 %`."""
    cell, _, rest = network.partition("-")
    units, _, level = rest.partition("@")
    return f"{words.CELLS.get(cell, cell)}-{units} at {100 * float(level):.4g} %"


def _rule(word: str) -> str:
    return word if word == "autograd" else words.called(word).text


def _look(word: str) -> Look:
    if word == "autograd":
        return look("other")
    rule = words.called(word)
    return look(rule.family, rule.degree)
