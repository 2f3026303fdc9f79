"""Lines and marks that tell curves apart where they coincide or leave their axes.

Shape suffixes: N points of a line, M of its markers.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.markers import CARETDOWN, CARETLEFT, CARETRIGHT, CARETUP

from snaprun.figures.stats import Array, carried
from snaprun.figures.style import Look

OFF = "beyond the axis"  # the word of a legend for a mark at an edge
EDGES = "A triangle at an edge: the value lies beyond it."
_MARKERS = 5  # on a line that is as long as its axis
_EQUAL = 1e-6  # the relative difference of two lines, up to which it is rounding
_APART = 0.035  # of the axes, between marks at an edge
_EDGE: dict[str, Any] = dict(linestyle="none", markersize=6, clip_on=False, zorder=5)


def line(
    axes: Axes,
    x_N: Array,
    y_N: Array,
    look: Look,
    phase: float = 0.0,
    step: bool = False,
) -> None:
    """Draw a line whose markers stand where those of lines with another `phase` do not.

    A marker stands on its line, but not at a point of it unless there is a single one; `phase` is
    in [0, 1). The limits of the x axis and both scales are final. Markers lie above all lines.
    """
    drawn: dict[str, Any] = {"color": look.colour, "linestyle": look.line}
    drawn["drawstyle"] = "steps-post" if step else "default"
    axes.plot(x_N, y_N, **drawn, zorder=look.zorder)
    x_M, y_M = _markers(axes, x_N, y_N, phase, step)
    axes.plot(x_M, y_M, linestyle="none", **look.marker_kwargs(), zorder=3)


def _markers(axes: Axes, x_N: Array, y_N: Array, phase: float, step: bool) -> tuple[Array, Array]:
    x_N, y_N = np.asarray(x_N, dtype=float), np.asarray(y_N, dtype=float)
    known_N = np.isfinite(x_N) & np.isfinite(y_N)
    for values_N, scale in ((x_N, axes.get_xscale()), (y_N, axes.get_yscale())):
        known_N &= (values_N > 0) | (scale != "log")
    x_N, y_N = x_N[known_N], y_N[known_N]
    if len(x_N) < 2:
        return x_N, y_N
    # A line is straight between two points on the paper, so on the scales of its axes.
    across, along = axes.xaxis.get_transform(), axes.yaxis.get_transform()
    u_N, v_N = across.transform(x_N), along.transform(y_N)
    left, right = across.transform(np.array(axes.get_xlim()))
    count = max(1, round(_MARKERS * (u_N[-1] - u_N[0]) / (right - left)))
    u_M = u_N[0] + (np.arange(count) + phase) / count * (u_N[-1] - u_N[0])
    v_M = carried(u_N, v_N, u_M) if step else np.interp(u_M, u_N, v_N)
    return across.inverted().transform(u_M), along.inverted().transform(v_M)


def equals(lines: Mapping[str, Sequence[Array]]) -> dict[str, str]:
    """Return, for each name whose lines are those of an earlier name, the earlier name.

    >>> import numpy as np
    >>> from snaprun.figures.marks import equals
    >>> equals({"SnAp-1": [np.ones(3)], "UORO": [np.zeros(3)], "RTRL": [np.ones(3)]})
    {'RTRL': 'SnAp-1'}
    """
    found: dict[str, str] = {}
    unlike: list[str] = []
    for name, own in lines.items():
        same = next((first for first in unlike if _same(own, lines[first])), None)
        if same is None:
            unlike.append(name)
        else:
            found[name] = same
    return found


def _same(one: Sequence[Array], other: Sequence[Array]) -> bool:
    return len(one) == len(other) and all(
        mine.shape == its.shape and np.allclose(mine, its, _EQUAL, 1e-9, equal_nan=True)
        for mine, its in zip(one, other, strict=True)
    )


def at_edges(axes: Axes, lines: Iterable[tuple[Array, Array, Look]]) -> list[bool]:
    """Mark the points (N,), (N,) of lines that lie beyond the final limits, at the nearest edge.

    Returns for each line whether it has such a point. A value that is not positive lies beyond a
    logarithmic axis. Marks stand beside each other.
    """
    in_axes = axes.transScale + axes.transLimits
    taken: list[tuple[float, float]] = []
    found = []
    for x_N, y_N, look in lines:
        places = in_axes.transform(np.column_stack([x_N, y_N]).astype(float))
        beyond = [place for place in places if np.isfinite(place).all() and _outside(place)]
        for u, v in beyond:
            marker = (
                CARETUP if v > 1 else CARETDOWN if v < 0 else CARETLEFT if u < 0 else CARETRIGHT
            )
            u, v = min(max(u, 0.0), 1.0), min(max(v, 0.0), 1.0)
            while any(abs(u - x) + abs(v - y) < _APART for x, y in taken):
                u, v = (u - _APART, v) if marker in (CARETUP, CARETDOWN) else (u, v + _APART)
            taken.append((u, v))
            axes.plot(u, v, color=look.colour, marker=marker, **_EDGE, transform=axes.transAxes)
        found.append(bool(beyond))
    return found


def _outside(place: Array) -> bool:
    return bool((np.abs(place - 0.5) > 0.5 + 1e-6).any())
