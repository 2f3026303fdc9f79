"""What can be read off a figure that has been laid out."""

from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox


def assert_legible(figure: Figure) -> None:
    """Nothing is drawn outside the figure, and no two texts overlap."""
    found = texts(figure)
    for index, (text, box) in enumerate(found):
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= figure.bbox.width, text
        assert box.y1 <= figure.bbox.height, text
        for other, its in found[:index]:
            across = min(box.x1, its.x1) - max(box.x0, its.x0)
            along = min(box.y1, its.y1) - max(box.y0, its.y0)
            assert across <= 0.5 or along <= 0.5, (text, other)


def texts(figure: Figure) -> list[tuple[str, Bbox]]:
    """Every drawn text of a figure with its box in pixels."""
    # matplotlib keeps, but does not draw, the ticks beyond the limits of an axis.
    beyond = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not low <= tick.get_loc() <= high:
                beyond |= {tick.label1, tick.label2}
    return [
        (text.get_text(), text.get_window_extent())
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in beyond
    ]
