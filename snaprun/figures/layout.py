"""The parts that all figures share: the frame of legend and caption, axes, and the files."""

import math
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox, blended_transform_factory

from snaprun.figures import words
from snaprun.figures.select import Series, Sheet
from snaprun.figures.stats import BOOTSTRAP_SEEDS
from snaprun.figures.style import INK, compact
from snaprun.files import atomic, write_atomically

DPI = 200  # of PNG
COLUMN, PAGE = 3.3, 7.2  # inches: the widths of one column and of two in a paper
_EDGE = 0.06  # inches around the caption and above the legend
_LINE = 0.12  # inches a line of the caption
_HANDLE = 2.8  # the length of a line in the legend, in font sizes
SMALL: dict[str, Any] = {"va": "center", "fontsize": 6, "color": INK}  # text beside a row
_LEGEND: dict[str, Any] = dict(
    loc="lower center", frameon=False, borderpad=0.3, borderaxespad=0, columnspacing=1.4
)


def blank(width: float, height: float) -> Figure:
    """Return an empty figure of this size (inches), without a window and without global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def frame(figure: Figure, handles: Sequence[Artist], caption: str) -> None:
    """Put the shared legend and the caption under the facets; make the figure higher by these."""
    width, height = figure.get_size_inches()
    lines = wrapped(caption, width - 2 * _EDGE, 6).split("\n")
    renderer = FigureCanvasAgg(figure).get_renderer()
    base = _EDGE + _LINE * len(lines)
    legend_height = 0.0
    # As many columns as fit, then no more than the rows need.
    columns = len(handles)
    entries = np.zeros(columns)  # widths in pixels: once known, too many columns are not tried
    while handles:
        balanced = math.ceil(len(handles) / math.ceil(len(handles) / columns))
        least = sum(column.max() for column in np.array_split(entries, columns))
        if columns == 1 or least <= width * figure.dpi:
            legend = figure.legend(handles=handles, ncols=columns, handlelength=_HANDLE, **_LEGEND)
            box = legend.get_window_extent(renderer)
            entries = np.array([_entry(text, renderer) for text in legend.get_texts()])
            if columns == 1 or (box.width <= width * figure.dpi and balanced == columns):
                legend_height = box.height / figure.dpi + _EDGE
                legend.set_bbox_to_anchor((0, base / (height + base + legend_height), 1, 1))
                break
            legend.remove()
        columns = balanced if balanced < columns else columns - 1
    total = height + base + legend_height
    figure.set_size_inches(width, total)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    bottom = (base + legend_height) / total
    engine.set(rect=(0, bottom, 1, 1 - bottom))
    figure.text(_EDGE / width, _EDGE / total, "\n".join(lines), fontsize=6, color=INK, va="bottom")


def _entry(text: Text, renderer: RendererAgg) -> float:
    """Return the least width, in pixels, of a text of the legend with its handle."""
    handle = _HANDLE * float(text.get_fontsize()) * renderer.dpi / 72
    return text.get_window_extent(renderer).width + handle


def save(figure: Figure, table: pd.DataFrame, stem: Path) -> list[Path]:
    """Write `stem` as PNG (200 dpi), PDF and, with the plotted numbers, CSV."""
    png, pdf = (Path(f"{stem}.{kind}") for kind in ("png", "pdf"))
    _settle(figure)
    with atomic(png) as file:
        figure.savefig(file, dpi=DPI, format="png")
    with atomic(pdf) as file:
        # Without the date, drawing the same runs twice gives the same bytes.
        figure.savefig(file, format="pdf", metadata={"CreationDate": None})
    return [png, pdf, *save_table(table, stem)]


def _settle(figure: Figure) -> None:
    """Lay the figure out, and keep the layout for all files.

    The solver of the layout may end some 1e-13 apart in two calls, which could be seen in the last
    digits of a file.
    """
    figure.set_dpi(DPI)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine(None)
    for axes in figure.axes:
        place = axes.get_position(original=True)
        axes.set_position(Bbox(np.round(place.get_points(), 5)))


def save_table(table: pd.DataFrame, stem: Path) -> list[Path]:
    """Write the numbers alone, as `stem`.csv."""
    csv = Path(f"{stem}.csv")
    write_atomically(csv, table.to_csv(index=False))
    return [csv]


def linear(axis: Axis, integer: bool = False) -> None:
    """Give a linear axis few ticks, in compact numbers."""
    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=integer))
    axis.set_major_formatter(FuncFormatter(compact))


def counts(axis: Axis, subs: Sequence[float] = (1.0,)) -> None:
    """Give a linear or logarithmic axis few ticks, `subs` in a decade, in compact numbers."""
    if axis.get_scale() == "linear":
        linear(axis)
        return
    axis.set_major_locator(LogLocator(subs=subs, numticks=7))
    axis.set_major_formatter(FuncFormatter(compact))
    axis.set_minor_formatter(NullFormatter())


def cost_axis(axes: Axes, values: Iterable[float], name: Literal["x", "y"] = "x") -> bool:
    """Make an axis logarithmic if `values` span more than a factor of 10; return whether it is."""
    axis: Axis = getattr(axes, f"{name}axis")
    positive = [value for value in values if value > 0]
    if not is_wide(positive):
        linear(axis)
        return False
    logarithmic(axes, max(positive) / min(positive), name)
    return True


def logarithmic(axes: Axes, span: float, name: Literal["x", "y"] = "x") -> None:
    """Make an axis logarithmic, with ticks for values that span this factor."""
    axes.set(**{f"{name}scale": "log"})
    # Decades alone would leave one or two ticks on a short axis.
    subs = (1, 2, 5) if span < 30 else (1, 3) if span < 100 else (1,)
    counts(getattr(axes, f"{name}axis"), subs)


def words_at_left(axes: Axes, place: float, text: str) -> None:
    """Write a few words at the left edge of a row, in place of a number that cannot be drawn."""
    at_edge = blended_transform_factory(axes.transAxes, axes.transData)
    axes.text(0.02, place, text, transform=at_edge, **SMALL)


def reach(values: Iterable[float], ceiling: float) -> tuple[float, float] | None:
    """Return the least and the largest known value up to `ceiling`, or of all if none is.

    Returns None without a known value.
    """
    known = [value for value in values if math.isfinite(value)]
    inside = [value for value in known if value <= ceiling] or known
    return (min(inside), max(inside)) if inside else None


def is_wide(values: Iterable[float]) -> bool:
    """Return whether positive values span more than a factor of 10."""
    positive = [value for value in values if value > 0]
    return bool(positive) and max(positive) > 10 * min(positive)


def wrapped(text: str, width: float, size: float) -> str:
    """Return `text` in lines of at most about `width` inches at this font size (points)."""
    together = text.replace(" %", "\N{NO-BREAK SPACE}%")  # a number and its unit stay on a line
    filled = textwrap.fill(together, int(width * 72 / (0.57 * size)))
    return filled.replace("\N{NO-BREAK SPACE}", " ")


def named(same: Sequence[Series], notes: Sequence[str] = ()) -> str:
    """Return the name that these series share, with how many of their runs did not finish.

    A single series has its own label. `notes` stand beside the name, too.
    """
    runs = sum(len(one.runs) for one in same)
    ends = {end: sum(getattr(one, end) for one in same) for end in ("diverged", "incomplete")}
    counted = ", ".join(f"{count} of {runs} {end}" for end, count in ends.items() if count)
    return noted(
        same[0].label if len(same) == 1 else same[0].name, [*filter(None, [counted]), *notes]
    )


def noted(name: str, notes: Sequence[str]) -> str:
    """Return a name with notes in brackets."""
    return f"{name} ({'; '.join(notes)})" if notes else name


def legend(
    sheet: Sheet, lines: bool = True, notes: Mapping[str, Sequence[str]] | None = None
) -> list[Line2D]:
    """Return one handle a name, by rank, with the `notes` of the name.

    Runs that did not finish are counted over all facets.
    """
    none: dict[str, Any] = {} if lines else {"linestyle": "none"}
    return [
        Line2D(
            [],
            [],
            **(alike[0].look.line_kwargs() | none),
            label=named(alike, (notes or {}).get(alike[0].name, ())),
        )
        for alike in by_rank(sheet)
    ]


def by_rank(sheet: Sheet) -> list[list[Series]]:
    """Return the series of all facets, those with one name together, in the legend's order."""
    same: dict[int, list[Series]] = defaultdict(list)
    for facet in sheet.facets:
        for series in facet.series:
            same[series.rank].append(series)
    return [same[rank] for rank in sorted(same)]


def pooled_caption(sheet: Sheet) -> str:
    """Return a sentence on names with several values of a key, or "" without such a name."""
    names = {series.name for facet in sheet.facets for series in facet.series}
    if not any(words.PER_PANEL in name for name in names):
        return ""
    return f"Values with {words.PER_PANEL.strip()} between them: those of one panel after another."


def text_caption(series: Iterable[Series]) -> str:
    """Return a sentence that names the learned text, or "" if the task has none."""
    texts = {str(run.config["task"].get("text", "")) for one in series for run in one.runs} - {""}
    return f" Text: {', '.join(map(words.short, sorted(texts)))}." if texts else ""


def seeds_caption(series: Iterable[Series], point: str, bar: str) -> str:
    """Return in words how many seeds there are, and what `point` (line) and `bar` (band) show."""
    counts = sorted({len(one.runs) for one in series})
    number = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if counts[-1] == 1:
        return "1 seed."
    several = [count for count in counts if count > 1]
    text = "bootstrap 95 % interval of the median"
    if several[-1] < BOOTSTRAP_SEEDS:
        text = "range"
    elif several[0] < BOOTSTRAP_SEEDS:
        text = f"{text} (from {BOOTSTRAP_SEEDS} seeds on) or range (fewer)"
    return f"{number} seeds: {point} is the median, {bar} the {text}."
