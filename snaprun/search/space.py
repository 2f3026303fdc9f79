"""The space of a search: for each searched key the values that a trial may take."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from snaprun.checks import refuse


@dataclass(frozen=True)
class Dimension:
    """A searched key with the values that it may take; a choice holds them as they are written."""

    key: str
    values: BaseDistribution

    @property
    def first(self) -> Any:
        """The first choice, or the least number."""
        if isinstance(self.values, CategoricalDistribution):
            return self.values.choices[0]
        assert isinstance(self.values, FloatDistribution | IntDistribution)
        return self.values.low

    @property
    def scale(self) -> str:
        """How figures draw the values: by `choice`, or on a `log` or `linear` axis."""
        if isinstance(self.values, CategoricalDistribution):
            return "choice"
        return "log" if getattr(self.values, "log", False) else "linear"

    def word(self, value: Any, digits: int | None = None) -> str:
        """Return `key=value` as on the command line; with `digits`, a float is rounded to them."""
        if isinstance(value, float) and digits:
            return f"{self.key}={value:.{digits}g}"
        return f"{self.key}={value}"


def choice(key: str, words: Sequence[str], written: str) -> Dimension:
    """Return a choice between values as the command line writes them.

    `written` is the whole of it. Raises UserError.
    """
    if len(words) < 2:
        remedy = f"Write {key}={words[0]} to set it." if words else ""
        refuse(key, written, "two or more values", remedy)
    if len(set(words)) < len(words):
        refuse(key, written, "each value once")
    return Dimension(key, CategoricalDistribution(list(words)))


def numbers(
    key: str, low: float, high: float, step: float | None, log: bool, written: str
) -> Dimension:
    """Return the numbers from `low` to `high`, both included; integers if both are.

    `step` is the distance of two of them (None: any between); with `log` they are drawn on a
    logarithmic scale. `written` is what the command line says. Raises UserError.
    """
    if not low < high:
        refuse(key, written, "two or more numbers, the least one first")
    if log and low <= 0:
        refuse(key, written, "numbers > 0 under tag(log, …)")
    whole = isinstance(low, int) and isinstance(high, int)
    if log and step is not None and not (whole and step == 1):
        refuse(key, written, "tag(log, …) of an interval, or of a range of integers by 1")
    if whole:
        return Dimension(key, IntDistribution(int(low), int(high), log, int(step or 1)))
    return Dimension(key, FloatDistribution(low, high, log, step))
