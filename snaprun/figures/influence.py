"""The figure of the entries of the influence matrix that SnAp-n keeps, for a small network.

Shape suffixes: S states, P parameters, both of one network.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from numpy.typing import NDArray

from snaprun.figures.layout import PAGE, blank, frame, save
from snaprun.figures.style import INK, LOOKS

_LEFT = 0.3  # inches beside the matrices
_HIGHEST = 1.4  # inches a matrix
_BEFORE, _EMPTY = "0.25", "0.93"
_NAMED = 20  # the most units with a number: more numbers would touch each other


def draw(
    network: str, kept: Mapping[str, NDArray[np.bool_]], unit_P: NDArray[np.int64], stem: Path
) -> list[Path]:
    """Draw the masks of rules, an entry in the colour of its first rule, and write the files.

    `kept` maps each rule, in words, to its mask (S, P), which contains the mask before it. `unit_P`
    is the unit that each parameter feeds, in ascending order; states are component-major.
    """
    states, parameters = next(iter(kept.values())).shape
    # Entries are square unless the matrix would be too high for a page.
    height = min((PAGE - _LEFT) * states / parameters, _HIGHEST)
    figure = blank(PAGE, len(kept) * (height + 0.24) + 0.2)
    grid = figure.subplots(len(kept), 1, squeeze=False, sharex=True)[:, 0]
    colours = [LOOKS[rule].colour for rule in kept]
    before_SP = np.zeros((states, parameters), dtype=bool)
    for number, (axes, rule) in enumerate(zip(grid, kept, strict=True)):
        axes.pcolormesh(
            2 - kept[rule].astype(int) - before_SP,  # 0: kept before, 1: first here, 2: not kept
            cmap=ListedColormap([_BEFORE, colours[number], _EMPTY]),
            vmin=-0.5,
            vmax=2.5,
            edgecolors="white",
            linewidth=0.25,
        )
        axes.set_title(f"{rule}: {100 * kept[rule].mean():.3g} % of the entries", loc="left")
        _units(axes, unit_P, states, below=number == len(kept) - 1)
        before_SP = kept[rule]
    words = ["within 1 step", *(f"{n} steps" for n in range(2, len(kept))), "later"]
    handles = [Patch(color=colour, label=word) for colour, word in zip(colours, words, strict=True)]
    handles.append(Patch(color=_BEFORE, label="as above"))
    caption = (
        f"The influence matrix ∂state/∂parameters of {network}: {states} states × {parameters} "
        "live parameters, ordered by the unit that a parameter feeds, its slot (gate) and its "
        "source. Coloured where the parameter first reaches the state in so many steps, dark where "
        "a matrix above has the entry too, light where it is dropped or zero."
    )
    frame(figure, handles, caption)
    table = pd.DataFrame(
        {
            "rule": list(kept),
            "kept": [int(mask_SP.sum()) for mask_SP in kept.values()],
            "entries": states * parameters,
            "density": [mask_SP.mean() for mask_SP in kept.values()],
        }
    )
    return save(figure, table, stem)


def _units(axes: Axes, unit_P: NDArray[np.int64], states: int, below: bool) -> None:
    """Separate the parameters by the unit that they feed, and number the units from 1."""
    units = int(unit_P[-1]) + 1
    starts = np.searchsorted(unit_P, np.arange(units + 1))
    axes.vlines(starts, 0, states, color=INK, linewidth=0.6)
    axes.set_xlim(-0.2, unit_P.size + 0.2)
    axes.grid(visible=False)
    axes.set_ylim(states, 0)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelbottom=below)
    every = math.ceil(units / _NAMED)
    middle = (starts[:-1] + starts[1:]) / 2
    axes.set_xticks(middle[::every], [str(unit) for unit in range(1, units + 1, every)])
    axes.set_yticks([])
    axes.set_ylabel("states")
    if below:
        axes.set_xlabel("parameters, by the unit that they feed")
