"""The figure of `snaprun bench` on budgets: the time of exact BPTT against the memory it keeps."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from snaprun.figures import words
from snaprun.figures.layout import PAGE, blank, frame, save
from snaprun.figures.style import BLACK, BLUE, GREEN, INK, PURPLE, VERMILLION
from snaprun.figures.words import CHECKPOINT, FULL_TAPE, SEGMENTS, THEORY

TITLES = {"native": "C++ engine", "torch": "PyTorch engine"}
AUTOGRAD = "torch.nn"
_WIDE = {"markersize": 8, "markerfacecolor": "none"}  # seen around the mixed one's
LINES: dict[str, dict[str, Any]] = {  # of the policies
    "internal": {"color": GREEN, "linestyle": (0, (4, 1.5)), "marker": "v", **_WIDE},
    "hidden": {"color": VERMILLION, "linestyle": (0, (1, 1.2)), "marker": "s"},
    "mixed": {"color": BLUE, "linestyle": "-", "marker": "o", "zorder": 4},
}
POINTS: dict[str, dict[str, Any]] = {
    SEGMENTS: {"color": BLACK, "marker": "D", "markersize": 6, "markerfacecolor": "none"},
    CHECKPOINT: {"color": PURPLE, "marker": "x", "markersize": 6, "markeredgewidth": 1.6},
    FULL_TAPE: {"color": BLACK, "marker": "*", "markersize": 8},
}
LABELS = {
    "internal": "policy internal: keeps taped steps",
    "hidden": "policy hidden: keeps states",
    "mixed": "policy mixed: keeps the better of both",
    SEGMENTS: "equal segments: a state every √T steps",
    CHECKPOINT: "the same in torch.nn.GRU, by torch.utils.checkpoint",
    FULL_TAPE: "full tape",
}
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)  # per cent


def draw(table: pd.DataFrame, machine: str, stem: Path) -> list[Path]:
    """Draw time against memory, a panel for each network and engine, and write the files."""
    by = ["network", "steps", "lanes"]
    groups = [group for _, group in table.groupby(by, sort=False)]
    there = set(table["engine"])
    engines = [name for name in TITLES if name in there]
    figure = blank(PAGE, 2.6 * len(groups))
    grid = figure.subplots(len(groups), len(engines), squeeze=False, sharey="row")
    for row, group in zip(grid, groups, strict=True):
        for axes, engine in zip(row, engines, strict=True):
            _panel(axes, group, engine)
        row[0].set_ylabel("time over that of the full tape")
    told = "points: measured\nlines: theory"
    grid[0, 0].text(
        0.98, 0.97, told, ha="right", va="top", size=6.5, color=INK, transform=grid[0, 0].transAxes
    )
    for axes in grid[-1]:
        axes.set_xlabel("memory kept, % of the full tape")
    frame(figure, _legend(), _caption(table, machine))
    return save(figure, table, stem)


def _panel(axes: Axes, group: pd.DataFrame, engine: str) -> None:
    for policy, line in LINES.items():
        of_policy = group.loc[group["policy"] == policy]
        theory = of_policy.loc[of_policy["engine"] == THEORY]
        thin: dict[str, Any] = line | {"marker": None, "linewidth": 1, "alpha": 0.6}
        axes.plot(100 * theory["fraction"], theory["theory"], **thin)
        _points(axes, of_policy.loc[of_policy["engine"] == engine], line | {"linestyle": "none"})
    for policy, point in POINTS.items():
        whose = AUTOGRAD if policy == CHECKPOINT else engine
        found = group.loc[(group["policy"] == policy) & (group["engine"] == whose)]
        _points(axes, found, {"linestyle": "none", "zorder": 5} | point)
    axes.axhline(1, color=INK, linewidth=0.6)
    axes.set_xscale("log")
    low = 100 * min(group["fraction"])
    axes.set_xlim(low / 1.15, 130)
    ticks = [tick for tick in TICKS if tick >= low]
    axes.set_xticks(ticks, [f"{tick:g} %" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.1f} ×"))
    axes.set_title(TITLES[engine], loc="left")


def _points(axes: Axes, rows: pd.DataFrame, style: dict[str, Any]) -> None:
    x = 100 * rows["fraction"]
    axes.vlines(x, rows["ratio_low"], rows["ratio_high"], color=style["color"], linewidth=1)
    axes.plot(x, rows["ratio"], **style)


def _legend() -> list[Artist]:
    none: dict[str, Any] = {"linestyle": "none"}
    return [
        Line2D([], [], **(none | style), label=LABELS[policy])
        for policy, style in (LINES | POINTS).items()
    ]


def _caption(table: pd.DataFrame, machine: str) -> str:
    sizes = table.drop_duplicates(["network", "steps", "lanes"])
    columns = (sizes[name] for name in ("network", "task", "lanes", "steps"))
    told = "; ".join(
        f"{words.benched(str(network))}, {task}, {words.of_lanes(count)}, T = {steps}"
        for network, task, count, steps in zip(*columns, strict=True)
    )
    rounds = sorted(int(count) for count in table["rounds"].dropna())
    least, most = rounds[0], rounds[-1]
    return (
        f"Exact gradients of BPTT over windows of T steps: {told}. From a kept state later steps "
        "are repeated; a taped step has all that its reversal needs. Memory is the most kept at a "
        "time, as measured (torch.nn: tensors that autograd saves). Times are medians over "
        f"{least if least == most else f'{least} to {most}'} interleaved rounds, each beside the "
        "full tape of the same engine in the same round (torch.nn.GRU, which is dense: beside its "
        "own), bars the quartiles. Lines are theory: a step back is worth two steps forward, so "
        f"the time is (forward steps / T + 2) / 3. {machine and f'{machine}.'}"
    ).strip()
