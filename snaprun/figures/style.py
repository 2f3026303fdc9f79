"""The look of figures: each rule has one colour, line and marker, the same in every figure.

Colour-blind readers can tell the colours, by Okabe and Ito, apart. Lines and markers tell the rules
apart in grey.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = map(
    to_rgb, matplotlib.color_sequences["okabe_ito"]
)
GREY = (0.74, 0.74, 0.74)
DIM = (0.5, 0.5, 0.5)
SHORT = (0.64, 0.64, 0.64)  # TBPTT(1); a longer window is darker
INK = (0.35, 0.35, 0.35)  # captions and ticks

Colour = tuple[float, float, float]
Line = Literal["-"] | tuple[float, tuple[float, ...]]
Fill = Literal["full", "none", "left", "top", "right", "bottom"]
_SOLID: Line = "-"
_DASHED: Line = (0, (5, 1.5))
_DASH_DOT: Line = (0, (6, 1.2, 1, 1.2))
_DOTTED: Line = (0, (1, 1.2))
_LONG: Line = (0, (10, 2.5))
_DASH_DOTS: Line = (0, (6, 1.2, 1, 1.2, 1, 1.2, 1, 1.2))
_LINES = (_SOLID, _DASHED, _DASH_DOT, _DOTTED, _LONG, _DASH_DOTS)


@dataclass(frozen=True)
class Look:
    """Colour (red, green, blue in [0, 1]), line, marker and fill of the marker, for matplotlib."""

    colour: Colour
    line: Line
    marker: str
    fill: Fill = "full"

    @property
    def ink(self) -> Colour:
        """The colour for words in this look, dark enough to be read."""
        return _mixed(self.colour, BLACK, 0.3)

    @property
    def zorder(self) -> float:
        """The order of a line: solid ones lie below broken ones, so that both are seen."""
        return 2.0 if self.line == "-" else 2.2

    def line_kwargs(self) -> dict[str, Any]:
        """Return the arguments that draw a line with markers in this look."""
        return {"linestyle": self.line, **self.marker_kwargs()}

    def marker_kwargs(self) -> dict[str, Any]:
        """Return the arguments that draw a marker in this look; its unfilled part is white."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "fillstyle": "full" if self.fill == "none" else self.fill,
            "markerfacecolor": "white" if self.fill == "none" else self.colour,
            "markerfacecoloralt": "white",
            "markeredgewidth": 0.7,
        }


# In the order in which legends and tables name the families of rules.
LOOKS = {
    "BPTT": Look(BLACK, _SOLID, "o"),
    "BPTT, bounded": Look(BLACK, _LONG, "8"),
    "BPTT, cut": Look(DIM, _DASH_DOTS, "H"),
    "TBPTT": Look(SHORT, _DOTTED, "s"),
    "SAB": Look(YELLOW, _DASH_DOTS, "*"),
    "SAB (detached bank)": Look(YELLOW, _DOTTED, "*", "none"),
    "RTRL": Look(VERMILLION, _DASH_DOT, "D"),
    "SnAp-1": Look(BLUE, _SOLID, "^"),
    "SnAp-2": Look(GREEN, _DASHED, "v"),
    "SnAp-3": Look(SKY, _DASH_DOT, "<"),
    "SnAp-n": Look(SKY, _DOTTED, ">"),
    "UORO": Look(ORANGE, _DOTTED, "X"),
    "RFLO": Look(PURPLE, _DASHED, "P"),
    "RFLO (random feedback)": Look(PURPLE, _DOTTED, "p"),
    "e-prop": Look(PURPLE, _SOLID, ">"),
    "e-prop (random feedback)": Look(PURPLE, _DASH_DOT, ">", "none"),
    "e-prop (adaptive feedback)": Look(PURPLE, _DASH_DOTS, ">", "top"),
    "rate": Look(GREEN, _DOTTED, "P", "none"),
    "frozen": Look(GREY, _SOLID, "d"),
    "other": Look(INK, _DASH_DOT, "h"),
}

DEGREES = ("BPTT, bounded", "BPTT, cut", "TBPTT", "SnAp-n")  # families whose look shows a number

# The tick of a counted value.
COUNTED: dict[str, Any] = dict(
    color=BLACK, marker="|", markersize=10, linestyle="none", clip_on=False, zorder=4
)

BAND: dict[str, Any] = dict(alpha=0.13, linewidth=0, zorder=1)  # around a line

NONE = "none"  # in place of a zero, where an axis is logarithmic

_FILLS: tuple[Fill, ...] = ("full", "none", "left", "top", "right", "bottom")


def look(family: str, degree: int = 0) -> Look:
    """Return the look of a rule, which is the same in every figure.

    `degree` is the T of TBPTT(T), the n of SnAp-n for n > 3, the steps between two cuts, or how
    many times less memory BPTT has. With more steps the shade is closer to that of BPTT, with a
    larger n to that of RTRL, with less memory to grey; all make the dashes longer.
    """
    base = LOOKS[family]
    if not degree:
        return base
    if family != "SnAp-n":
        steps, towards = math.log2(degree), GREY if family == "BPTT, bounded" else BLACK
    else:
        steps, towards = degree - 3, LOOKS["RTRL"].colour
    return replace(
        base,
        colour=_mixed(base.colour, towards, 1 - 0.8**steps),
        line=(0, (2 + 1.3 * steps, 1.2)),
        fill=_FILLS[round(steps) % len(_FILLS)],
    )


def varied(base: Look, variant: int) -> Look:
    """Return variant 1, 2, … of a look (for another lr, say), with another shade, line and fill.

    The variants of a bright colour are lighter and darker in turn, of a dark colour only lighter.
    """
    if not variant:
        return base
    bright = max(base.colour) > 0.5
    turn = (variant + 1) // 2 if bright else variant
    towards = BLACK if bright and variant % 2 == 0 else (1, 1, 1)
    lines = [base.line, *(line for line in _LINES if line != base.line)]
    return replace(
        base,
        colour=_mixed(base.colour, towards, 0.7 * (1 - 0.6**turn)),
        line=lines[variant % len(lines)],
        fill=_FILLS[(_FILLS.index(base.fill) + variant) % len(_FILLS)],
    )


def _mixed(one: Colour, other: Colour, part: float) -> Colour:
    r, g, b = (1 - part) * np.asarray(one) + part * np.asarray(other)
    return (float(r), float(g), float(b))


_PAPER: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "text.parse_math": False,  # a $ in a name or path is no formula
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "axes.grid": True,
    "grid.color": "0.92",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "pdf.fonttype": 42,  # TrueType: text stays text in an editor
}


@contextmanager
def paper() -> Iterator[None]:
    """Use the style of a paper for figures made and saved in the block; then restore globals."""
    with matplotlib.rc_context(_PAPER), warnings.catch_warnings():
        # Letters that the font lacks, as in a name or path, are drawn as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def compact(value: float, _position: object = None) -> str:
    """Return a number in at most three digits and a letter: 0.32, 24, 1.5k, 300k, 2.1M."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"
