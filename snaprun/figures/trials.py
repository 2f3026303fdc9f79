"""What a search tried: the values in the order of its trials, and against each searched key."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from snaprun.figures import layout
from snaprun.figures.style import BLUE, DIM, VERMILLION
from snaprun.metrics import Metric
from snaprun.outcome import Status

_COLUMNS = 3  # axes side by side
_HEIGHT = 1.9  # inches of a row of axes
_MARKS: dict[str, dict[str, Any]] = {
    Status.DONE: dict(marker="o", markersize=3.5, color=BLUE, alpha=0.8, markeredgewidth=0),
    Status.PRUNED: dict(marker="o", markersize=3.5, color=DIM, fillstyle="none"),
    Status.DIVERGED: dict(marker="x", markersize=4.5, color=VERMILLION),
    Status.FAILED: dict(marker="+", markersize=5, color=DIM),
}
_SPACE = 0.08  # of the values' range, beyond the best and, twice as much, beyond the worst


def draw(trials: pd.DataFrame, metric: Metric, scales: Mapping[str, str], stem: Path) -> list[Path]:
    """Draw the table of `Study.table` and write the three files.

    `scales` says of each searched key whether it is drawn `linear`, `log` or by `choice`.
    """
    count = 1 + len(scales)
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    figure = layout.blank(layout.PAGE, 0.2 + _HEIGHT * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes in grid[count:]:
        axes.remove()
    history, *others = grid[:count]
    _best_so_far(history, trials, metric)
    _scatter(history, trials["trial"].tolist(), trials, metric)
    history.set_xlabel("trial")
    layout.linear(history.xaxis, integer=True)
    for axes, (key, scale) in zip(others, scales.items(), strict=True):
        _scatter(axes, _scaled(axes, trials[key].tolist(), scale), trials, metric)
        axes.set_xlabel(key)
    for axes in grid[:count:columns]:
        axes.set_ylabel(layout.wrapped(metric.axis, _HEIGHT, 7.5))
    _limit(history, trials, metric)
    layout.linear(history.yaxis, integer=metric.jumps)
    layout.frame(figure, _legend(trials), _caption(trials, metric))
    return layout.save(figure, trials, stem)


def _best_so_far(axes: Axes, trials: pd.DataFrame, metric: Metric) -> None:
    values_N = trials["value"].where(trials["end"] == Status.DONE).to_numpy(float)
    best_N = metric.better * np.fmax.accumulate(metric.better * values_N)
    axes.step(trials["trial"], best_N, where="post", color=BLUE, linewidth=1)


def _scaled(axes: Axes, values: Sequence[Any], scale: str) -> list[float]:
    """Scale the axis of a key, and return where its values stand on it."""
    if scale == "choice":
        places = {choice: place for place, choice in enumerate(dict.fromkeys(values))}
        names = [layout.wrapped(str(choice), 0.7, 6.5) for choice in places]
        axes.set_xticks(range(len(places)), names)
        axes.set_xlim(-0.6, len(places) - 0.4)
        return [places[value] for value in values]
    if scale == "log":
        layout.logarithmic(axes, max(values) / min(values))
    else:
        layout.linear(axes.xaxis, integer=all(isinstance(value, int) for value in values))
    return list(values)


def _scatter(axes: Axes, at: Sequence[float], trials: pd.DataFrame, metric: Metric) -> None:
    """Draw a mark for each trial: at its value, or at the worse edge if that is not shown."""
    edge = 0.97 if metric.better < 0 else 0.03
    at_N, values_N, shown_N = np.asarray(at, float), _values(trials), _shown(trials, metric)
    for end, mark in _MARKS.items():
        own_N = (trials["end"] == end).to_numpy()
        here_N = own_N & shown_N
        axes.plot(at_N[here_N], values_N[here_N], linestyle="none", **mark)
        lost = at_N[own_N & ~shown_N]
        within = axes.get_xaxis_transform()
        axes.plot(lost, [edge] * len(lost), linestyle="none", transform=within, **mark)


def _values(trials: pd.DataFrame) -> NDArray[np.float64]:
    return trials["value"].to_numpy(float)


def _shown(trials: pd.DataFrame, metric: Metric) -> NDArray[np.bool_]:
    """Return of which trials the value is shown: it is the trial's own and within the ceiling."""
    own_N = trials["end"].isin((Status.DONE, Status.PRUNED)).to_numpy()
    return own_N & (_values(trials) <= metric.ceiling)


def _limit(axes: Axes, trials: pd.DataFrame, metric: Metric) -> None:
    """Show the values with space for marks at the worse edge."""
    values_N = _values(trials)[_shown(trials, metric)]
    if not len(values_N):
        return
    low, high = float(values_N.min()), float(values_N.max())
    space = _SPACE * ((high - low) or abs(high) or 1.0)
    below, above = (2, 1) if metric.better > 0 else (1, 2)
    axes.set_ylim(low - below * space, high + above * space)


def _legend(trials: pd.DataFrame) -> list[Artist]:
    counts = trials["end"].value_counts()
    shown = [(end, mark) for end, mark in _MARKS.items() if end in counts]
    return [
        Line2D([], [], linestyle="none", **mark, label=f"{end} ({counts[end]})")
        for end, mark in shown
    ]


def _caption(trials: pd.DataFrame, metric: Metric) -> str:
    said = f"{len(trials)} trials; the line is the best value so far."
    if Status.PRUNED in set(trials["end"]):
        said += " A pruned trial has the value of its last report."
    if not _shown(trials, metric).all():
        said += " Trials at the edge diverged, failed or lie beyond."
    return said
