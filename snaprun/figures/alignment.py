"""Gradients of several rules beside the exact one along a run, and what the run learned."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snaprun.figures import aligned, curves, layout, learning, marks, words
from snaprun.figures.aligned import Line, Lines
from snaprun.figures.select import Facet, Series, Sheet
from snaprun.figures.style import BAND, Look, look, varied
from snaprun.listing import flat
from snaprun.store.schema import ALIGNMENT, LAYER, WHOLE

# Title and axis of a facet; g is the gradient of a rule, g* the exact one.
QUANTITIES = {
    "cosine": ("direction", "cosine of g and g*"),
    "norm_ratio": ("length", "‖g‖ / ‖g*‖"),
    "bias2": ("bias²", "‖E g − g*‖² / ‖g*‖²"),
    "variance": ("variance of a draw", "E ‖g − E g‖² / ‖g*‖²"),
}
# The two gradients between which a cosine is taken.
STALE = {
    "stale_fresh": "trained, recomputed",
    "fresh_exact": "recomputed, exact",
    "stale_exact": "trained, exact",
}
_WIDE, _NARROW = 3, 4  # facets a row
_ROW = 1.75  # inches
_ROUNDING = 1e-9  # of a cosine: a smaller distance from 1 is none

Draw = Callable[[Axes], set[str]]  # returns the rules with values beyond the axes
Looks = Mapping[str, Look]  # of each rule, in the order of the legend


def draw(sheet: Sheet, stem: Path) -> list[Path]:
    """Draw a figure for each series along which gradients were compared; return the files.

    What would be a single point is not drawn.
    """
    found = [
        (replace(facet, series=(_in_own_look(series),)), drawn)
        for facet in sheet.facets
        for series in facet.series
        if (drawn := aligned.lines(series.runs))
    ]
    files: list[Path] = []
    for number, (facet, drawn) in enumerate(found, start=1):
        numbered = f"{stem}-{number}" if len(found) > 1 else str(stem)
        files += _figure(sheet, facet, drawn, Path(numbered))
    return files


def _in_own_look(series: Series) -> Series:
    """Return a series in the look of its rule, which the figure draws in other panels, too."""
    rule = words.rule(flat(series.runs[0].config))
    return replace(series, look=look(rule.family, rule.degree))


def _figure(sheet: Sheet, facet: Facet, drawn: Lines, stem: Path) -> list[Path]:
    looks = looks_of({rule for rule, _, _ in drawn})
    slots = dict.fromkeys(slot for _, slot, _ in drawn if slot != WHOLE)
    cosines = {rule: drawn.get((rule, WHOLE, "stale_fresh")) for rule in looks}
    stale = [rule for rule, line in cosines.items() if line and np.isfinite(line.value).any()]
    noisy = any(is_noisy(drawn, rule) for rule in looks)
    wide: list[Draw] = [
        partial(_quantity, drawn=drawn, looks=looks, kind=kind)
        for kind in QUANTITIES
        if _several(_shown(drawn, looks, kind))
    ]
    wide += [partial(_staleness, drawn=drawn, rule=rule) for rule in stale]
    of_slot = partial(_quantity, drawn=drawn, looks=looks, kind="cosine")
    narrow: list[Draw] = [
        partial(of_slot, slot=slot)
        for slot in slots
        if _several(_shown(drawn, looks, "cosine", slot))
    ]
    metrics = curves.shown(sheet)
    often = [metric for metric in metrics if metric.every == "log_every"]
    learned = learning.panel_of(facet, [*often, *metrics][0])
    table = _table(learned, drawn)
    if not wide:
        return layout.save_table(table, stem)
    figure, (first, *others) = _axes(1 + len(wide), len(narrow))
    learning.alone(first, learned)
    first.set_title("learning", loc="left")
    beyond = set[str]()
    for ax, shown in zip(others, [*wide, *narrow], strict=True):
        ax.set_xlim(first.get_xlim())
        layout.linear(ax.xaxis)
        beyond |= shown(ax)
    for ax in (first, *others):
        ax.set_xlabel("data-time (tokens)")
    handles = _legend(drawn, looks, stale, beyond)
    layout.frame(figure, handles, _caption(facet, noisy, bool(stale), bool(beyond)))
    return layout.save(figure, table, stem)


def _table(learned: learning.Panel, drawn: Lines) -> pd.DataFrame:
    """Return the plotted numbers, of the curve and of the comparisons."""
    of_curve = learning.tables([learned]).rename(columns={"median": "value", "at": "tokens"})
    columns = ["tokens", "rule", "slot", "quantity", "value", "low", "high"]
    table = pd.concat([of_curve, aligned.as_rows(drawn)], ignore_index=True)
    return table.reindex(columns=columns)


def _axes(wide: int, narrow: int) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes: `wide` ones three in a row, below them `narrow` ones four."""
    rows = [-(-wide // _WIDE), -(-narrow // _NARROW)]
    figure = layout.blank(layout.PAGE, _ROW * sum(rows))
    parts = figure.add_gridspec(sum(rows))
    upper = parts[: rows[0]].subgridspec(rows[0], _WIDE)
    places = [upper[divmod(i, _WIDE)] for i in range(wide)]
    if narrow:
        lower = parts[rows[0] :].subgridspec(rows[1], _NARROW)
        places += [lower[divmod(i, _NARROW)] for i in range(narrow)]
    return figure, [figure.add_subplot(place) for place in places]


def looks_of(words_of_rules: set[str]) -> Looks:
    """Return the look of each rule in the order of legends."""
    called = {word: words.called(word) for word in words_of_rules}
    ordered = sorted(called, key=lambda word: called[word].order)
    return {word: look(called[word].family, called[word].degree) for word in ordered}


def _shown(drawn: Lines, looks: Looks, kind: str, slot: str = WHOLE) -> dict[str, Line]:
    """Return the lines of one quantity by rule; the variance of stochastic rules only."""
    rules = [rule for rule in looks if kind != "variance" or is_noisy(drawn, rule)]
    return {rule: drawn[rule, slot, kind] for rule in rules}


def _several(shown: Mapping[str, Line]) -> bool:
    """Return whether there is more than one point to draw."""
    return sum(int(np.isfinite(line.value).sum()) for line in shown.values()) > 1


def _quantity(axes: Axes, drawn: Lines, looks: Looks, kind: str, slot: str = WHOLE) -> set[str]:
    """Draw one quantity, a line for each rule."""
    shown = _shown(drawn, looks, kind, slot)
    title, label = QUANTITIES[kind]
    part = slot if slot.startswith(LAYER) else f"slot {slot}"
    axes.set_title(title if slot == WHOLE else f"{title}, {part}", loc="left")
    axes.set_ylabel(label)
    values = np.concatenate([line.value for line in shown.values()])
    if kind in ("cosine", "bias2"):
        layout.linear(axes.yaxis)
    else:
        layout.cost_axis(axes, values.tolist(), "y")
    for number, (rule, line) in enumerate(shown.items()):
        _line(axes, line, looks[rule], (number + 0.5) / len(shown))
    plain = [line.value for rule, line in shown.items() if not is_noisy(drawn, rule)]
    if kind == "cosine":
        ends = np.concatenate([values, *(line.low for line in shown.values())])
        axes.set_ylim(np.nan_to_num(ends).min(initial=0.0) - 0.05, 1.05)
    elif kind == "bias2" and plain:
        # The interval of a stochastic rule may be many times as wide as all biases.
        top = 1.1 * np.nan_to_num(plain).max(initial=0.1)
        axes.set_ylim(-0.1 * top, top)
    else:
        axes.set_ylim(axes.get_ylim())
    lines = [(line.tokens, line.value, looks[rule]) for rule, line in shown.items()]
    off = marks.at_edges(axes, lines)
    return {rule for rule, beyond in zip(shown, off, strict=True) if beyond}


def is_noisy(drawn: Lines, rule: str) -> bool:
    """Return whether a rule's gradient differs from draw to draw."""
    return bool((drawn[rule, WHOLE, "variance"].value > 0).any())


def _staleness(axes: Axes, drawn: Lines, rule: str) -> set[str]:
    """Draw 1 − cosine between a rule's gradient as trained, recomputed, and the exact one."""
    turned = {quantity: 1 - drawn[rule, WHOLE, quantity].value for quantity in STALE}
    values = np.concatenate([*turned.values(), [np.nan]])
    positive = values[values > _ROUNDING]
    low, high = (positive.min(), positive.max()) if positive.size else (_ROUNDING, 1.0)
    layout.logarithmic(axes, high / low, "y")
    axes.set_ylim(low / 2, 2 * high)
    lines = []
    for number, (quantity, style) in enumerate(_stale_looks(rule).items()):
        tokens, turned_G = drawn[rule, WHOLE, quantity].tokens, turned[quantity]
        seen_G = np.where(turned_G > _ROUNDING, turned_G, np.nan)
        marks.line(axes, tokens, seen_G, style, (number + 0.5) / len(STALE))
        lines.append((tokens, np.where(turned_G > _ROUNDING, turned_G, 0 * turned_G), style))
    marks.at_edges(axes, lines)
    axes.set_title("staleness of the trained rule", loc="left")
    axes.set_ylabel("1 − cosine")
    return set()


def _stale_looks(rule: str) -> dict[str, Look]:
    called = words.called(rule)
    base = look(called.family, called.degree)
    return {quantity: varied(base, variant) for variant, quantity in enumerate(STALE)}


def _line(axes: Axes, line: Line, style: Look, phase: float) -> None:
    marks.line(axes, line.tokens, line.value, style, phase)
    axes.fill_between(line.tokens, line.low, line.high, color=style.colour, **BAND)
    if len(line.tokens) == 1:  # a band of one point has no width
        axes.vlines(line.tokens, line.low, line.high, color=style.colour)


def _legend(drawn: Lines, looks: Looks, stale: Sequence[str], beyond: set[str]) -> list[Line2D]:
    """Return a handle for each rule, and for each line of staleness."""
    text = {rule: words.called(rule).text for rule in looks}
    places = dict.fromkeys((slot, kind) for _, slot, kind in drawn if kind in QUANTITIES)
    same = marks.equals({rule: [drawn[rule, *place].value for place in places] for rule in looks})
    handles = []
    for rule, style in looks.items():
        notes = [f"= {text[same[rule]]}"] if rule in same else []
        notes += [marks.OFF] * (rule in beyond)
        handles.append(Line2D([], [], **style.line_kwargs(), label=layout.noted(text[rule], notes)))
    for rule in stale:
        whose = f"{text[rule]}, " if len(stale) > 1 else ""
        handles += [
            Line2D([], [], **style.line_kwargs(), label=f"staleness: {whose}{STALE[quantity]}")
            for quantity, style in _stale_looks(rule).items()
        ]
    return handles


def _caption(facet: Facet, noisy: bool, stale: bool, beyond: bool) -> str:
    """Return in words what was trained, and how the gradients were taken."""
    (series,) = facet.series
    keys = series.runs[0].config[ALIGNMENT]
    interval = "with its 95 % interval" if len(series.runs) == 1 else "of every seed"
    shown = [
        f"{facet.title}, trained with {series.label}.",
        "g: a rule's gradient of a fresh batch, weights held fixed; g*: the exact one, by BPTT.",
        layout.seeds_caption([series], "the line", "the band"),
        "Markers tell lines apart and may stand anywhere on them.",
    ]
    if noisy:
        shown += [
            f"Stochastic rules: mean over {keys['draws']} draws {interval}.",
            "An estimate of their bias² may be negative; its axis is fitted to the other rules.",
        ]
    if stale:
        shown.append(
            f"Staleness: means over {keys['stale']} updates of a batch; recomputed is the "
            "influence, under the weights of the update and from the beginning of the sequence. "
            "A triangle at its lower edge: a cosine of 1, but for rounding."
        )
    if beyond:
        shown.append(marks.EDGES)
    shown.append("Alignment does not predict performance (Marschall et al. 2020).")
    return " ".join(shown)
