"""The raster of a spiking network over one sequence: its inputs, spikes, adaptation and outputs.

Shape suffixes: T steps, I inputs, K units, O outputs.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from snaprun.figures.layout import PAGE, blank, frame, linear, save
from snaprun.figures.style import BLACK, BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILLION

_OUTPUTS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK)
_MOST = 7  # outputs that are drawn with a colour of their own
_TALLEST = 1.5  # inches of a row of spikes


@dataclass(frozen=True)
class Recording:
    """What was recorded of one sequence."""

    title: str  # the network and its task
    inputs_TI: NDArray[np.float64]
    spikes_TK: NDArray[np.float64]
    adaptation_TK: NDArray[np.float64] | None  # of the units whose threshold adapts
    adaptive_K: NDArray[np.bool_]
    layers: tuple[int, ...]  # units of each layer, from the input up
    outputs_TO: NDArray[np.float64]
    targets_T: NDArray[np.float64]  # classes, or the first number of the target
    asked_T: NDArray[np.bool_]  # the steps with a target
    classes: bool


def draw(of: Recording, stem: Path) -> list[Path]:
    """Draw a recording and write the three files."""
    adapts = of.adaptation_TK is not None and bool(of.adaptive_K.any())
    heights = [_spiking(of.inputs_TI.shape[1]), _spiking(of.spikes_TK.shape[1])]
    heights += [0.8] * adapts + [0.9]
    figure = blank(PAGE, sum(heights) + 0.25)
    grid = figure.subplots(
        len(heights), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    grid[0].set_title(of.title, loc="left")
    _inputs(grid[0], of.inputs_TI)
    _dots(grid[1], of.spikes_TK, np.where(of.adaptive_K, 1, 0))
    grid[1].set_ylabel("units")
    for edge in np.cumsum(of.layers)[:-1]:
        grid[1].axhline(edge - 0.5, color=INK, linewidth=0.6)
    if adapts and of.adaptation_TK is not None:
        grid[2].plot(of.adaptation_TK[:, of.adaptive_K], color=VERMILLION, linewidth=0.5)
        grid[2].set_ylabel("adaptation b")
        linear(grid[2].yaxis)
    handles = _outputs(grid[-1], of)
    grid[-1].set_xlabel("time step")
    grid[-1].set_xlim(-0.5, len(of.spikes_TK) - 0.5)
    grid[-1].set_xticks([])
    linear(grid[-1].xaxis, integer=True)
    if adapts:
        spike = {"linestyle": "none", "marker": "|", "markersize": 5}
        handles += [
            Line2D([], [], color=BLACK, label="spikes", **spike),
            Line2D([], [], color=VERMILLION, label="spikes of adaptive units", **spike),
        ]
    frame(figure, handles, _caption(of))
    return save(figure, _table(of), stem)


def _spiking(rows: int) -> float:
    """Return the height of a raster of so many rows, in inches."""
    return min(0.5 + 0.02 * rows, _TALLEST)


def _inputs(axes: Axes, inputs_TI: NDArray[np.float64]) -> None:
    """Draw inputs that are 0 or 1 as spikes, others as grey values."""
    if np.isin(inputs_TI, (0, 1)).all():
        _dots(axes, inputs_TI, np.zeros(inputs_TI.shape[1], dtype=int))
    else:
        axes.imshow(inputs_TI.T, aspect="auto", origin="lower", cmap="Greys", interpolation="none")
        axes.grid(visible=False)
    axes.set_ylabel("inputs")
    linear(axes.yaxis, integer=True)


def _dots(axes: Axes, spikes_TN: NDArray[np.float64], kind_N: NDArray[np.int64]) -> None:
    """Draw a mark for every spike, a row for every neuron."""
    for kind, colour in enumerate((BLACK, VERMILLION)):
        step, row = np.nonzero(spikes_TN * (kind_N == kind))
        size = max(0.6, min(4.0, 90 / spikes_TN.shape[1]))
        axes.plot(step, row, "|", color=colour, markersize=size, markeredgewidth=0.6)
    axes.set_ylim(-1, spikes_TN.shape[1])
    axes.grid(visible=False)
    linear(axes.yaxis, integer=True)


def _outputs(axes: Axes, of: Recording) -> list[Line2D]:
    """Draw the outputs, with the steps that have a target shaded, and return a legend."""
    handles = []
    steps = np.arange(len(of.asked_T))
    axes.fill_between(
        steps,
        0,
        1,
        where=list(of.asked_T),
        step="mid",
        color=GREY,
        alpha=0.3,
        linewidth=0,
        transform=axes.get_xaxis_transform(),
    )
    for o in range(min(of.outputs_TO.shape[1], _MOST)):
        name = f"output {o}" if of.outputs_TO.shape[1] > 1 else "output"
        handles += axes.plot(of.outputs_TO[:, o], color=_OUTPUTS[o], linewidth=0.9, label=name)
    if not of.classes:
        target_T = np.where(of.asked_T, of.targets_T, np.nan)
        handles += axes.plot(target_T, color=INK, linewidth=0.6, linestyle=":", label="target")
    axes.set_ylabel("probability" if of.classes else "output")
    linear(axes.yaxis)
    return handles


def _caption(of: Recording) -> str:
    asked = "The steps with a target are shaded"
    if of.classes and of.asked_T.any():
        wanted = sorted({int(y) for y in of.targets_T[of.asked_T]})
        asked += f"; there the target is {', '.join(map(str, wanted))}"
    more = "" if of.outputs_TO.shape[1] <= _MOST else f" The first {_MOST} outputs are drawn."
    lines = " Lines part the layers." if len(of.layers) > 1 else ""
    return f"One held-out sequence, weights frozen. {asked}.{more}{lines}"


def _table(of: Recording) -> pd.DataFrame:
    """Return the spikes and the values that are drawn, a row each."""
    parts = [("input", of.inputs_TI, False), ("spike", of.spikes_TK, False)]
    if of.adaptation_TK is not None:
        parts.append(("adaptation", np.where(of.adaptive_K, of.adaptation_TK, 0), False))
    parts.append(("output", of.outputs_TO, True))
    rows = []
    for name, values, whole in parts:
        step, index = np.nonzero(np.ones_like(values) if whole else values)
        columns = {"what": name, "step": step, "index": index, "value": values[step, index]}
        rows.append(pd.DataFrame(columns))
    return pd.concat(rows, ignore_index=True)
