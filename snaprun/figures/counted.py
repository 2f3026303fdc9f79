"""The figure of `snaprun cost`: the counted cost of each rule."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from snaprun.figures import words
from snaprun.figures.layout import PAGE, blank, counts, frame, save
from snaprun.figures.style import look

COLUMNS = {
    "macs": "multiply-adds per lane and step",
    "state_bytes": "bytes of rule state per lane",
}


def draw(costs: pd.DataFrame, stem: Path) -> list[Path]:
    """Draw multiply-adds and bytes of state against size: a row for each cell, a line a rule."""
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
    handles = axes[0, 0].get_legend_handles_labels()[0]
    frame(figure, handles, "Counted from the masks with zeros skipped; the readout is not counted.")
    return save(figure, costs, stem)


def _facet(ax: Axes, costs: pd.DataFrame, column: str) -> None:
    for name, of_rule in costs.groupby("rule", sort=False):
        rule = words.called(str(name))
        shown = look(rule.family, rule.degree)
        layers = of_rule["layers"].iloc[0] if "layers" in of_rule else 1
        times = f" × {layers}" if layers > 1 else ""
        both = zip(of_rule["units"], of_rule["sparsity"], strict=True)
        sizes = [f"{units}{times}\n{100 * level:.4g} %" for units, level in both]
        positive = of_rule[column].where(of_rule[column] > 0)  # a log axis has no zero
        line = {"color": shown.colour, "linestyle": shown.line, "marker": shown.marker}
        ax.plot(sizes, positive, **line, label=rule.text)
    ax.set_yscale("log")
    counts(ax.yaxis)
