"""Metrics: what comparisons and figures must know of each column of measured values.

A task declares its metrics, a run writes these declarations into its summary, and readers of the
run take them from there. If a run declares nothing, the built-in metrics apply.
"""

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

Every = Literal["log_every", "eval_every"]
EVERY: tuple[Every, ...] = get_args(Every)
HELD_OUT, BASELINE = "validation_", "baseline_"  # the beginnings of the keys of other metrics
AVERAGE = "_average"  # the end of the key of a metric of the averaged weights
COUNTERS = ("tokens", "updates", "seconds")  # in every row
_COLUMNS = (*COUNTERS, "arm", "seed")  # of tables beside the metrics


@dataclass(frozen=True)
class Metric:
    """A column of the metrics; raises ValueError for a field with an impossible value.

    >>> from snaprun.metrics import Metric
    >>> accuracy = Metric("accuracy", "accuracy", "%", better=1, worst=0.0)
    >>> accuracy.axis, accuracy.averaged().key
    ('accuracy (%)', 'accuracy_average')
    >>> Metric("tokens", "tokens", "", better=1, worst=0.0)
    Traceback (most recent call last):
    ValueError: key 'tokens', not a word of its own
    """

    key: str  # the name of the column
    label: str  # the label of an axis
    unit: str  # "" if the label says it
    better: Literal[1, -1]  # 1: larger values are better; -1: smaller values
    worst: float  # the value that stands for a diverged run
    every: Every = "log_every"  # the key of `train` that says when a row is due
    whole: bool = False  # an integer: thinned to its last value, other metrics to their mean
    holds: bool = False  # a value stays valid until the next row, so that every window has one
    fixed_by: str = ""  # the key of `task` that keeps the value constant if it is set
    smoothing: float = 0.0  # the share of a run's data-time over which a curve is averaged
    ceiling: float = math.inf  # the largest value that axes show: beyond is worse than guessing
    beside: tuple[str, ...] = ()  # keys of metrics that are compared, too
    shown: tuple[str, ...] = ()  # keys of metrics that figures draw above this one

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
        """Whether the metric goes from integer to integer."""
        return self.whole and self.holds

    @property
    def columns(self) -> tuple[str, ...]:
        """The keys of the metrics that a panel keeps of runs that it judges by this metric."""
        above = (key for key in self.shown if key not in self.beside)
        return (*above, self.key, *self.beside)

    def averaged(self) -> "Metric":
        """Return the same metric of the averaged weights."""
        words = self.key + AVERAGE, f"{self.label}, averaged weights"
        return Metric(*words, self.unit, self.better, self.worst, self.every, self.whole)

    def held_out(self) -> "Metric":
        """Return the same metric of held-out data, drawn below this one."""
        key, label, above = f"{HELD_OUT}{self.key}", f"held-out {self.label}", (self.key,)
        every: Every = "eval_every"
        return replace(
            self, key=key, label=label, every=every, smoothing=0.0, beside=(), shown=above
        )

    def baseline(self) -> "Metric":
        """Return the same metric of a simple answer to compare with."""
        key, label = f"{BASELINE}{self.key}", f"{self.label}, baseline"
        return replace(self, key=key, label=label, beside=(), shown=())

    def to_json(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        kept = {f.name: values[f.name] for f in fields(self) if values[f.name] != f.default}
        return {key: list(v) if isinstance(v, tuple) else v for key, v in kept.items()}


def known(declared: Iterable[Metric]) -> dict[str, Metric]:
    """Return the declared, then the built-in metrics by key; the first of equal keys counts."""
    found: dict[str, Metric] = {}
    for metric in (*declared, *BUILT_IN.values()):
        found.setdefault(metric.key, metric)
    return found


def judged_by(declared: Iterable[Metric], found: Collection[str]) -> Metric | None:
    """Return the metric that says which of two networks is better, or None.

    That is the first declared one on held-out data whose key was `found`.
    """
    return next((m for m in declared if m.every == "eval_every" and m.key in found), None)


def from_json(data: Any) -> tuple[Metric, ...]:
    """Return the metrics of a list of `to_json` objects; raises ValueError if the list is wrong."""
    try:
        return msgspec.convert(data, tuple[Metric, ...])
    except msgspec.MsgspecError as error:
        raise ValueError(f"declared: {error}") from error


def losses_last(
    values: Mapping[str, float | None], declared: Iterable[Metric]
) -> dict[str, float | None]:
    """Return the values of metrics by key with the losses, of which less is better, at the end."""
    losses = {metric.key for metric in known(declared).values() if metric.better < 0}
    losses |= {key + AVERAGE for key in losses}
    return dict(sorted(values.items(), key=lambda item: item[0] in losses))


# Those of runs whose summary declares none; the losses and tasks of then still use them.
BUILT_IN = {
    metric.key: metric
    for metric in from_json(json.loads((Path(__file__).parent / "undeclared.json").read_text()))
}
