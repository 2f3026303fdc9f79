"""Gradients of several rules beside the exact one along a run, and what the run learned."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snaprun.figures import aligned, curves, layout, learning, words
from snaprun.figures.aligned import Line, Lines
from snaprun.figures.select import Facet, Sheet
from snaprun.figures.style import Look, look, varied
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

Draw = Callable[[Axes], None]
Looks = Mapping[str, Look]  # of each rule, in the order of the legend


def draw(sheet: Sheet, stem: Path) -> list[Path]:
    """Draw a figure for each series along which gradients were compared; return the files."""
    found = [
        (replace(facet, series=(series,)), drawn)
        for facet in sheet.facets
        for series in facet.series
        if (drawn := aligned.lines(series.runs))
    ]
    files: list[Path] = []
    for number, (facet, drawn) in enumerate(found, start=1):
        numbered = f"{stem}-{number}" if len(found) > 1 else str(stem)
        files += _figure(sheet, facet, drawn, Path(numbered))
    return files


def _figure(sheet: Sheet, facet: Facet, drawn: Lines, stem: Path) -> list[Path]:
    looks = looks_of({rule for rule, _, _ in drawn})
    slots = dict.fromkeys(slot for _, slot, _ in drawn if slot != WHOLE)
    cosines = {rule: drawn.get((rule, WHOLE, "stale_fresh")) for rule in looks}
    stale = [rule for rule, line in cosines.items() if line and np.isfinite(line.value).any()]
    noisy = any(is_noisy(drawn, rule) for rule in looks)
    kinds = [kind for kind in QUANTITIES if kind != "variance" or noisy]
    wide: list[Draw] = [partial(_quantity, drawn=drawn, looks=looks, kind=kind) for kind in kinds]
    wide += [partial(_staleness, drawn=drawn, rule=rule) for rule in stale]
    of_slot = partial(_quantity, drawn=drawn, looks=looks, kind="cosine")
    narrow: list[Draw] = [partial(of_slot, slot=slot) for slot in slots]
    figure, (first, *others) = _axes(1 + len(wide), len(narrow))
    metrics = curves.shown(sheet)
    often = [metric for metric in metrics if metric.every == "log_every"]
    learned = learning.alone(first, facet, [*often, *metrics][0])
    first.set_title("learning", loc="left")
    for ax, shown in zip(others, [*wide, *narrow], strict=True):
        shown(ax)
        ax.set_xlim(first.get_xlim())
        layout.linear(ax.xaxis)
    for ax in (first, *others):
        ax.set_xlabel("data-time (tokens)")
    handles = [
        Line2D([], [], **style.line_kwargs(), label=words.called(rule).text)
        for rule, style in looks.items()
    ]
    layout.frame(figure, handles, _caption(facet, noisy, bool(stale)))
    learned = learned.rename(columns={"median": "value", "at": "tokens"})
    columns = ["tokens", "rule", "slot", "quantity", "value", "low", "high"]
    table = pd.concat([learned, aligned.as_rows(drawn)], ignore_index=True)
    return layout.save(figure, table.reindex(columns=columns), stem)


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


def _quantity(axes: Axes, drawn: Lines, looks: Looks, kind: str, slot: str = WHOLE) -> None:
    """Draw one quantity, a line for each rule; the variance for stochastic rules only."""
    shown = {rule: drawn[rule, slot, kind] for rule in looks}
    if kind == "variance":
        shown = {rule: line for rule, line in shown.items() if is_noisy(drawn, rule)}
    for rule, line in shown.items():
        _line(axes, line, looks[rule])
    title, label = QUANTITIES[kind]
    part = slot if slot.startswith(LAYER) else f"slot {slot}"
    axes.set_title(title if slot == WHOLE else f"{title}, {part}", loc="left")
    axes.set_ylabel(label)
    values = np.concatenate([line.value for line in shown.values()])
    if kind == "cosine":
        ends = np.concatenate([values, *(line.low for line in shown.values())])
        axes.set_ylim(np.nan_to_num(ends).min(initial=0.0) - 0.05, 1.05)
        layout.linear(axes.yaxis)
    elif kind == "bias2":
        plain = [line.value for rule, line in shown.items() if not is_noisy(drawn, rule)]
        if plain:  # the interval of a stochastic rule may be many times as wide as all biases
            top = 1.1 * np.nan_to_num(plain).max(initial=0.1)
            axes.set_ylim(-0.1 * top, top)
        layout.linear(axes.yaxis)
    else:
        layout.cost_axis(axes, values.tolist(), "y")


def is_noisy(drawn: Lines, rule: str) -> bool:
    """Return whether a rule's gradient differs from draw to draw."""
    return bool((drawn[rule, WHOLE, "variance"].value > 0).any())


def _staleness(axes: Axes, drawn: Lines, rule: str) -> None:
    """Draw 1 − cosine between a rule's gradient as trained, recomputed, and the exact one."""
    called, values = words.called(rule), list[float]()
    for variant, (quantity, text) in enumerate(STALE.items()):
        line = drawn[rule, WHOLE, quantity]
        turned_G = np.where(1 - line.value > _ROUNDING, 1 - line.value, np.nan)
        style = varied(look(called.family, called.degree), variant)
        axes.plot(line.tokens, turned_G, **style.line_kwargs(), label=text)
        values += turned_G.tolist()
    axes.set_title("staleness of the trained rule", loc="left")
    axes.set_ylabel("1 − cosine between")
    log = layout.cost_axis(axes, values, "y")
    low, high = axes.get_ylim()  # leaves room under the lines for the legend
    axes.set_ylim(low * (low / high) ** 0.7 if log else low - 0.7 * (high - low), high)
    axes.legend(loc="lower right", frameon=False, handlelength=2.8, borderpad=0, borderaxespad=0.2)


def _line(axes: Axes, line: Line, style: Look) -> None:
    zorder = 2.0 if style.line == "-" else 2.2  # lines that coincide show: solid ones lie below
    axes.plot(line.tokens, line.value, **style.line_kwargs(), zorder=zorder)
    axes.fill_between(line.tokens, line.low, line.high, color=style.colour, alpha=0.13, linewidth=0)
    if len(line.tokens) == 1:  # a band of one point has no width
        axes.vlines(line.tokens, line.low, line.high, color=style.colour)


def _caption(facet: Facet, noisy: bool, stale: bool) -> str:
    """Return in words what was trained, and how the gradients were taken."""
    (series,) = facet.series
    keys = series.runs[0].config[ALIGNMENT]
    interval = "with its 95 % interval" if len(series.runs) == 1 else "of every seed"
    shown = [
        f"{facet.title}, trained with {series.label}.",
        "g: a rule's gradient of a fresh batch, weights held fixed; g*: the exact one, by BPTT.",
        layout.seeds_caption([series], "the line", "the band"),
    ]
    if noisy:
        shown += [
            f"Stochastic rules: mean over {keys['draws']} draws {interval}.",
            "The axis of bias² is fitted to the other rules.",
        ]
    if stale:
        shown.append(
            f"Staleness: means over {keys['stale']} updates of a batch; recomputed is the "
            "influence, under the weights of the update and from the beginning of the sequence. "
            "A cosine of 1 has no place on its axis."
        )
    shown.append("Alignment does not predict performance (Marschall et al. 2020).")
    return " ".join(shown)
