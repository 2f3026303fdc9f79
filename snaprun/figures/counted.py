"""The figure of `snaprun cost`: the counted cost of each rule."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from snaprun.figures import marks, words
from snaprun.figures.layout import PAGE, blank, counts, frame, noted, save, save_table
from snaprun.figures.style import look

COLUMNS = {
    "macs": "multiply-adds per lane and step",
    "state_bytes": "bytes of rule state per lane",
}
_DODGE = 0.5  # of the distance between two sizes
_ZERO = ("no multiply-adds", "no state")  # beside the name of a rule


def draw(costs: pd.DataFrame, stem: Path) -> list[Path]:
    """Draw multiply-adds and bytes of state against size: a row for each cell, a line a rule.

    One rule at one size is no figure, only a table.
    """
    if len(costs) < 2:
        return save_table(costs, stem)
    cells = list(costs["cell"].unique())
    figure = blank(PAGE, 1.9 * len(cells))
    axes = figure.subplots(len(cells), len(COLUMNS), squeeze=False)
    for row, cell in zip(axes, cells, strict=True):
        for ax, column in zip(row, COLUMNS, strict=True):
            _facet(ax, costs.loc[costs["cell"] == cell], column)
        row[0].set_ylabel(words.CELLS.get(cell, cell))
    for top, bottom, label in zip(axes[0], axes[-1], COLUMNS.values(), strict=True):
        top.set_title(label)
        bottom.set_xlabel("units and sparsity")
    caption = "Counted from the masks with zeros skipped, without the readout. Rules stand abreast."
    if (costs[list(COLUMNS)].to_numpy() == 0).any():
        caption += " A triangle at the lower edge: zero, which a logarithmic axis lacks."
    frame(figure, _legend(costs), caption)
    return save(figure, costs, stem)


def _facet(ax: Axes, costs: pd.DataFrame, column: str) -> None:
    ax.set_yscale("log")
    sizes = costs.drop_duplicates(["units", "sparsity"])
    layers = costs["layers"].iloc[0] if "layers" in costs else 1
    times = f" × {layers}" if layers > 1 else ""
    both = list(zip(sizes["units"], sizes["sparsity"], strict=True))
    ax.set_xticks(range(len(both)), [f"{k}{times}\n{100 * level:.4g} %" for k, level in both])
    ax.set_xlim(-0.6 * _DODGE, len(both) - 1 + 0.6 * _DODGE)
    rules = list(costs.groupby("rule", sort=False))
    lines = []
    for number, (name, of_rule) in enumerate(rules):
        rule = words.called(str(name))
        own = zip(of_rule["units"], of_rule["sparsity"], strict=True)
        # Rules stand beside each other at a size, so that equal costs are seen.
        beside = _DODGE * ((number + 0.5) / len(rules) - 0.5)
        x_N = np.array([both.index(size) for size in own]) + beside
        y_N = of_rule[column].to_numpy(dtype=float)
        style = look(rule.family, rule.degree)
        ax.plot(x_N, np.where(y_N > 0, y_N, np.nan), **style.line_kwargs(), zorder=style.zorder)
        lines.append((x_N, y_N, style))
    ax.set_ylim(ax.get_ylim())
    marks.at_edges(ax, lines)
    counts(ax.yaxis)


def _legend(costs: pd.DataFrame) -> list[Line2D]:
    """Return a handle a rule, with what it has none of, and with the rule whose costs it has."""
    rules = {
        words.called(str(name)): [of_rule[column].to_numpy(dtype=float) for column in COLUMNS]
        for name, of_rule in costs.groupby("rule", sort=False)
    }
    same = marks.equals({rule.text: values for rule, values in rules.items()})
    handles = []
    for rule, values in rules.items():
        notes = [f"= {same[rule.text]}"] if rule.text in same else []
        notes += [text for text, each in zip(_ZERO, values, strict=True) if not each.any()]
        style = look(rule.family, rule.degree).line_kwargs()
        handles.append(Line2D([], [], **style, label=noted(rule.text, notes)))
    return handles
