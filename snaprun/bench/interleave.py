"""Times several contenders in turns, A B C A B C …, so that all see the machine in one state."""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Clock = Callable[[], float]  # seconds


class Spread(NamedTuple):
    """A median with its quartiles."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Budget:
    """How long to measure: seconds per group and per visit, and the least and most rounds."""

    seconds: float
    visit: float
    least: int
    most: int = 500


@dataclass(frozen=True)
class Contender:
    """Work to be timed: `work(n)` does n units of `steps` time steps each."""

    name: str
    work: Callable[[int], object]
    steps: int = 1
    prepare: Callable[[], object] | None = None  # before every visit, untimed


@dataclass(frozen=True)
class Times:
    """The seconds per time step of each round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds per step in the median round."""
        return quartiles(self.seconds).median

    @property
    def best(self) -> float:
        """Seconds per step in the fastest round."""
        return min(self.seconds)

    def columns(self, name: str, scale: float) -> dict[str, float]:
        """Return median, quartiles and best, times `scale`, as columns that begin with `name`."""
        median, low, high = quartiles(self.seconds)
        values = {"": median, "_low": low, "_high": high, "_best": self.best}
        return {name + end: scale * value for end, value in values.items()}


def ratio(above: Times, below: Times) -> Spread:
    """Return the ratio above/below, taken round by round so that a slow round cancels out."""
    return quartiles([a / b for a, b in zip(above.seconds, below.seconds, strict=True)])


def quartiles(values: Sequence[float]) -> Spread:
    """Compute the median and the quartiles of `values`."""
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    return Spread(float(median), float(low), float(high))


def interleave(
    contenders: Sequence[Contender],
    budget: Budget,
    clock: Clock = time.perf_counter,
    between: Callable[[], object] = lambda: None,
) -> dict[str, Times]:
    """Time every contender; returns the times by name. Calls `between` after every round.

    A warm-up round measures how many units fill a visit. A visit of several units begins with an
    untimed one, because the caches still hold the data of the previous contender.
    """
    found: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    collecting = gc.isenabled()
    gc.disable()
    try:
        units = {c.name: _fitting(c, budget.visit, clock) for c in contenders}
        begun, rounds = clock(), 0
        while rounds < budget.least or (rounds < budget.most and clock() - begun < budget.seconds):
            for contender in contenders:
                found[contender.name].append(_visit(contender, units[contender.name], clock))
            between()
            rounds += 1
    finally:
        if collecting:
            gc.enable()
    return {name: Times(tuple(seconds)) for name, seconds in found.items()}


def _fitting(contender: Contender, visit: float, clock: Clock) -> int:
    _visit(contender, 1, clock)
    one = _visit(contender, 1, clock) * contender.steps
    return max(1, int(visit / one)) if one > 0 else 1


def _visit(contender: Contender, units: int, clock: Clock) -> float:
    """Time one visit, in seconds per step."""
    if contender.prepare is not None:
        contender.prepare()
    if units > 1:
        contender.work(1)
    begun = clock()
    contender.work(units)
    return (clock() - begun) / (units * contender.steps)
