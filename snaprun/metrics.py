"""What is to be known of a metric to judge runs by it and to draw it, as its task declares it.

A task declares its metrics, a run writes them into its summary, and whoever reads runs takes them
from there. Where a run declares nothing the built-in ones count.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import msgspec

Every = Literal["log_every", "eval_every"]
EVERY: tuple[Every, ...] = get_args(Every)
AVERAGE = "_average"  # ends the key of what the average of the weights reaches
_COLUMNS = ("tokens", "updates", "seconds", "arm", "seed")  # of tables beside the metrics


@dataclass(frozen=True)
class Metric:
    """A column of the metrics; ValueError for a value that it cannot have."""

    key: str  # of the column
    label: str  # of an axis
    unit: str  # "" where the label says it
    better: Literal[1, -1]  # larger or smaller
    worst: float  # what a diverged run is taken to reach
    every: Every = "log_every"  # the key of `train` that says when a row is due
    whole: bool = False  # an integer: thinned to its last value, others to their mean
    holds: bool = False  # from its row until it changes, so that every window has a value
    fixed_by: str = ""  # the key of `task` that keeps it from moving where it is set
    smoothing: float = 0.0  # the share of a run's data-time over which a curve is averaged
    ceiling: float = math.inf  # of an axis: beyond it lies what is worse than guessing
    beside: tuple[str, ...] = ()  # metrics that are compared, too
    shown: tuple[str, ...] = ()  # metrics that figures draw above it

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z]\w*", self.key, re.ASCII) or self.key in _COLUMNS:
            raise ValueError(f"key {self.key!r}, not a word of its own")
        if not (self.label + self.unit).isprintable():
            raise ValueError(f"{self.key}: a label or unit that cannot be printed")
        sound = math.isfinite(self.worst) and 0 <= self.smoothing < 1
        if not sound or math.isnan(self.ceiling):
            raise ValueError(f"{self.key}: worst, smoothing or ceiling out of range")

    @property
    def axis(self) -> str:
        """The label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def jumps(self) -> bool:
        """Whether it goes from integer to integer."""
        return self.whole and self.holds

    @property
    def columns(self) -> tuple[str, ...]:
        """The metrics that are kept of a run that is judged by this one."""
        above = (key for key in self.shown if key not in self.beside)
        return (*above, self.key, *self.beside)

    def averaged(self) -> "Metric":
        """The metric of the average of the weights."""
        words = self.key + AVERAGE, f"{self.label}, averaged weights"
        return Metric(*words, self.unit, self.better, self.worst, self.every, self.whole)

    def to_json(self) -> dict[str, Any]:
        """The fields that are not as they are by default."""
        values = ((f, getattr(self, f.name)) for f in fields(self))
        return {
            f.name: list(value) if isinstance(value, tuple) else value
            for f, value in values
            if value != f.default
        }


MASTERED = Metric("mastered", "L mastered", "bits", 1, 0, "eval_every", whole=True)
MASTERED_AVERAGE = MASTERED.averaged()
LEVEL = Metric(
    "level",
    "L reached",
    "bits",
    better=1,
    worst=0,
    whole=True,
    holds=True,
    fixed_by="fixed_length",
    beside=(MASTERED.key, MASTERED_AVERAGE.key),
    shown=(MASTERED.key,),
)
_GUESSED = 8  # bits: what guessing a byte costs
BPC = Metric("bpc", "training bpc", "", -1, _GUESSED, smoothing=0.02, ceiling=10)
VALIDATION = Metric(
    "validation_bpc", "validation bpc", "", -1, _GUESSED, "eval_every", ceiling=10, shown=(BPC.key,)
)
BUILT_IN = {metric.key: metric for metric in (LEVEL, MASTERED, MASTERED_AVERAGE, BPC, VALIDATION)}


def known(declared: Iterable[Metric]) -> dict[str, Metric]:
    """These metrics by key, of equal keys the first one, then the built-in ones."""
    found: dict[str, Metric] = {}
    for metric in (*declared, *BUILT_IN.values()):
        found.setdefault(metric.key, metric)
    return found


def from_json(data: Any) -> tuple[Metric, ...]:
    """The metrics of a list of `to_json`; ValueError says what is wrong with it."""
    try:
        return msgspec.convert(data, tuple[Metric, ...])
    except msgspec.MsgspecError as error:
        raise ValueError(f"declared: {error}") from error
