"""What a search tried: the values in the order of its trials, and against each searched key."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from snaprun.figures import layout
from snaprun.figures.style import BLUE, DIM, VERMILLION
from snaprun.metrics import Metric
from snaprun.outcome import Status

_COLUMNS = 3  # axes side by side
_HEIGHT = 1.9  # inches of a row of axes
# By how a trial ended; one without a value of its own stands at the edge of the worse values.
_MARKS: dict[str, dict[str, Any]] = {
    Status.DONE: dict(marker="o", markersize=3.5, color=BLUE, alpha=0.8, markeredgewidth=0),
    Status.PRUNED: dict(marker="o", markersize=3.5, color=DIM, fillstyle="none"),
    Status.DIVERGED: dict(marker="x", markersize=4.5, color=VERMILLION),
    Status.FAILED: dict(marker="+", markersize=5, color=DIM),
}
_WORDS = {Status.PRUNED: "pruned, at its last report"}


def draw(trials: pd.DataFrame, metric: Metric, scales: Mapping[str, str], stem: Path) -> list[Path]:
    """Draw the table of `Study.rows` and write the three files.

    `scales` says of each searched key whether it is drawn `linear`, `log` or by `choice`.
    """
    columns = min(_COLUMNS, 1 + len(scales))
    rows = -(-(1 + len(scales)) // columns)
    figure = layout.blank(layout.PAGE, 0.2 + _HEIGHT * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes in grid[1 + len(scales) :]:
        axes.remove()
    history, *others = grid[: 1 + len(scales)]
    done = trials[trials["end"] == Status.DONE]
    best = done["value"].cummin() if metric.better < 0 else done["value"].cummax()
    history.step(done["trial"], best, where="post", color=BLUE, linewidth=1)
    _scatter(history, trials["trial"], trials, metric)
    history.set_xlabel("trial")
    layout.linear(history.xaxis, integer=True)
    for axes, (key, scale) in zip(others, scales.items(), strict=True):
        _against(axes, key, scale, trials, metric)
    for axes in grid[: 1 + len(scales) : columns]:
        axes.set_ylabel(layout.wrapped(metric.axis, _HEIGHT, 7.5))
    _limits(history, trials, metric)
    layout.linear(history.yaxis, integer=metric.jumps)
    words = f"{len(trials)} trials; the line is the best so far."
    layout.frame(figure, _legend(trials), f"{words} Each trial is one run.")
    return layout.save(figure, trials, stem)


def _against(axes: Axes, key: str, scale: str, trials: pd.DataFrame, metric: Metric) -> None:
    """Draw the values against those of one key."""
    at = trials[key]
    if scale == "choice":
        choices = list(dict.fromkeys(at))
        at = at.map({choice: place for place, choice in enumerate(choices)})
        axes.set_xticks(range(len(choices)), [layout.wrapped(str(c), 0.7, 6.5) for c in choices])
        axes.set_xlim(-0.6, len(choices) - 0.4)
    elif scale == "log":
        axes.set_xscale("log")
        spread = at.max() / at.min()
        layout.counts(axes.xaxis, (1, 2, 5) if spread < 30 else (1, 3) if spread < 100 else (1,))
    else:
        layout.linear(axes.xaxis)
    _scatter(axes, at, trials, metric)
    axes.set_xlabel(key)


def _scatter(axes: Axes, at: pd.Series, trials: pd.DataFrame, metric: Metric) -> None:
    """Draw a mark for each trial: at its value, or at the edge if it has none of its own."""
    edge = 0.97 if metric.better < 0 else 0.03
    for end, mark in _MARKS.items():
        own = trials["end"] == end
        here = own & trials["value"].notna() & (end != Status.DIVERGED)
        axes.plot(at[here], trials["value"][here], linestyle="none", **mark)
        lost = at[own & ~here]
        within = axes.get_xaxis_transform()
        axes.plot(lost, [edge] * len(lost), linestyle="none", transform=within, **mark)


def _limits(axes: Axes, trials: pd.DataFrame, metric: Metric) -> None:
    """Show the values of all trials that have one, with space for marks at the worse edge."""
    values = trials["value"][trials["end"].isin((Status.DONE, Status.PRUNED))].dropna()
    if values.empty:
        return
    low, high = values.min(), min(values.max(), max(metric.ceiling, values.min()))
    space = 0.08 * ((high - low) or abs(high) or 1.0)
    wide = 2 * space
    axes.set_ylim(low - (wide if metric.better > 0 else space), high + (wide if metric.better < 0 else space))


def _legend(trials: pd.DataFrame) -> list[Artist]:
    ends = trials["end"].value_counts()
    return [
        Line2D([], [], linestyle="none", **mark, label=f"{_WORDS.get(Status(end), end)} ({ends[end]})")
        for end, mark in _MARKS.items()
        if end in ends
    ]
