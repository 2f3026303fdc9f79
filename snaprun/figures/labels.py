"""Labels written beside their points, clear of each other and of the points."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from snaprun.figures.stats import Spread
from snaprun.figures.style import INK, Colour

_REACHES = (5, 9, 14, 20, 28, 38)  # points from the marker
_LEADER = 9  # points: from a label that is farther away a thin line leads to its marker
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


@dataclass(frozen=True)
class Point:
    """A point with error bars, in data units, and the text beside it with its colour."""

    text: str
    colour: Colour
    x: Spread
    y: Spread


def place(axes: Axes, points: Sequence[Point]) -> None:
    """Write each point's text at the nearest free place; the axes' limits and size are final."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    pixels = figure.dpi / 72
    taken = [box for point in points for box in _boxes(axes, point, pixels)]
    inside = axes.get_window_extent(renderer)
    for point in points:
        spot = (point.x.median, point.y.median)
        label = axes.annotate(
            point.text, spot, (0, 0), textcoords="offset points", fontsize=6.5, color=point.colour
        )
        candidates = []
        for reach, (right, up) in product(_REACHES, _DIRECTIONS):
            _put(label, reach, right, up)
            box = label.get_window_extent(renderer).padded(0.8 * pixels)
            outside = box.width * box.height - _shared(box, inside)
            cost = sum(_shared(box, other) for other in taken) + 3 * outside
            candidates.append((cost, reach, right, up, box))
            if cost == 0:
                break
        # Of candidates with equal costs, `min` takes the first, which is the nearest.
        _, reach, right, up, box = min(candidates, key=lambda candidate: candidate[0])
        _put(label, reach, right, up)
        taken.append(box)
        if reach > _LEADER:
            line = {"arrowstyle": "-", "color": INK, "linewidth": 0.4, "shrinkB": 2}
            ends = spot, (right * reach, up * reach)
            axes.annotate("", *ends, textcoords="offset points", arrowprops=line)


def _put(label: Annotation, reach: float, right: int, up: int) -> None:
    label.set_horizontalalignment(("right", "center", "left")[right + 1])
    label.set_verticalalignment(("top", "center", "bottom")[up + 1])
    label.set_position((right * reach, up * reach))


def _boxes(axes: Axes, point: Point, pixels: float) -> list[Bbox]:
    """Return the boxes, in pixels, of the marker and the error bars of a point."""
    x, y = point.x, point.y
    boxes = [_box(axes, (x.median, y.median), (x.median, y.median), 3.2 * pixels)]
    if x.bars:
        boxes.append(_box(axes, (x.low, y.median), (x.high, y.median), pixels))
    if y.bars:
        boxes.append(_box(axes, (x.median, y.low), (x.median, y.high), pixels))
    return boxes


def _box(axes: Axes, low: tuple[float, float], high: tuple[float, float], margin: float) -> Bbox:
    (x0, y0), (x1, y1) = axes.transData.transform([low, high])
    return Bbox.from_extents(x0 - margin, y0 - margin, x1 + margin, y1 + margin)


def _shared(one: Bbox, other: Bbox) -> float:
    """Return the area that two boxes share, in square pixels."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(width, 0) * max(height, 0)
