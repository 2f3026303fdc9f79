"""Measures the most that the machine can do with a working set, the roofline of a kernel."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch

from snaprun.bench.interleave import Clock, quartiles
from snaprun.figures.words import CEILING_NOT_REACHED
from snaprun.hardware import Cache, caches

TRY = 0.003  # seconds per try
TRIES = 50  # the least number of tries of every yardstick
COPY, IN_PLACE, PRODUCT = "copy", "in place", "product"
SIDE = 512  # the largest side of the square matrices of a product: larger ones are no faster
UNKNOWN_CACHE = 32 * 2**20  # bytes of the last-level cache if the system does not tell
MOST_BYTES = 2**29
FLOAT = 4  # bytes


@dataclass(frozen=True)
class Work:
    """The least work that one step of a kernel takes."""

    macs: int  # multiply-adds
    bytes: int  # read and written


@dataclass(frozen=True)
class Ceilings:
    """The most that the machine can do, with these threads and on this working set."""

    macs_per_s: float  # of a float32 matrix product
    bytes_per_s: float  # read and written, by a copy or an update in place

    def seconds(self, work: Work) -> float:
        """Compute the roofline: max(bytes / bandwidth, MACs / rate of the product)."""
        return max(work.bytes / self.bytes_per_s, work.macs / self.macs_per_s)

    def bound(self, work: Work) -> str:
        """Return which of the two limits the work, `bytes` or `MACs`.

        >>> Ceilings(macs_per_s=10.0, bytes_per_s=1.0).bound(Work(macs=5, bytes=1))
        'bytes'
        """
        by_bytes = work.bytes / self.bytes_per_s > work.macs / self.macs_per_s
        return "bytes" if by_bytes else "MACs"


@dataclass
class Yardstick:
    """An operation that is as fast as the machine allows, and the times of its tries."""

    what: str
    working_set: int  # bytes
    amount: int  # bytes read and written, or multiply-adds, per go
    go: Callable[[], object]
    seconds: list[float] = field(default_factory=list)  # per go, one for each try

    def attempt(self, clock: Clock) -> None:
        """Make one try: as many goes as fill it, after an untimed one that warms the caches."""
        fastest = min(self.seconds, default=math.inf)
        goes = math.ceil(TRY / fastest) if fastest > 0 else 1
        self.go()
        begun = clock()
        for _ in range(max(goes, 1)):
            self.go()
        self.seconds.append((clock() - begun) / max(goes, 1))

    @property
    def best(self) -> float:
        """The amount per second of the fastest try."""
        return self.amount / min(self.seconds)


class Yardsticks:
    """The ceilings of some working sets (bytes), tried once after every round of the bench.

    A copy and an update in place work on as many bytes as the working set, but on no more than
    twice the last cache. A product multiplies square matrices that fill half a cache.
    """

    def __init__(
        self,
        working_sets: Iterable[int],
        known: Sequence[Cache] | None = None,
        clock: Clock = time.perf_counter,
        side: int = SIDE,
    ):
        self._caches = caches() if known is None else known
        self._clock = clock
        sizes = sorted({self._within(working_set) for working_set in working_sets})
        sides = {_side(cache.bytes, side) for cache in self._caches} or {side}
        self.all = [
            *(make(size) for size in sizes for make in (_copy, _in_place)),
            *map(_product, sorted(sides)),
        ]

    def turn(self) -> None:
        """Try every yardstick once."""
        for one in self.all:
            one.attempt(self._clock)

    def finish(self) -> None:
        """Try until every yardstick has at least TRIES tries."""
        while any(len(one.seconds) < TRIES for one in self.all):
            self.turn()

    def ceilings(self, working_set: int) -> Ceilings:
        """Return the best rates at this working set; a product may work on a smaller one."""
        size = self._within(working_set)
        products = [one for one in self.all if one.what == PRODUCT]
        fitting = [one for one in products if one.working_set <= working_set]
        moves = [one for one in self.all if one.what != PRODUCT and one.working_set == size]
        macs_per_s = max(one.best for one in fitting or products[:1])
        return Ceilings(macs_per_s, max(one.best for one in moves))

    def level(self, working_set: int) -> str:
        """Return the first cache that holds the set, or `memory`; empty if no cache is known."""
        names = [cache.name for cache in self._caches if working_set <= cache.bytes]
        return (names or ["memory"])[0] if self._caches else ""

    def as_rows(self) -> pd.DataFrame:
        """Return a row per yardstick: GB/s or GMAC/s of the best try and of the median one."""
        return pd.DataFrame(
            {
                "what": one.what,
                "working_set_bytes": one.working_set,
                "level": self.level(one.working_set),
                "unit": "GMAC/s" if one.what == PRODUCT else "GB/s",
                "best": one.best / 1e9,
                "median": one.amount / quartiles(one.seconds).median / 1e9,
                "tries": len(one.seconds),
            }
            for one in self.all
        )

    def _within(self, working_set: int) -> int:
        last = self._caches[-1].bytes if self._caches else UNKNOWN_CACHE
        floats = min(working_set, 2 * last, MOST_BYTES) // (2 * FLOAT)
        return 2 * FLOAT * max(floats, 1)


def told(fractions: Mapping[str, float]) -> dict[str, float | str | None]:
    """Return the fractions of one roofline with a note; all are None if one of them exceeds 1.

    Then the kernel was faster than the ceiling that was measured, so the ceiling is too low.
    """
    if max(fractions.values()) > 1:
        return {**dict.fromkeys(fractions), "note": CEILING_NOT_REACHED}
    return {**fractions, "note": ""}


def _copy(working_set: int) -> Yardstick:
    # Ones, which are written at once: untouched zeros would all be the same page of memory.
    source, target = torch.ones(2, working_set // (2 * FLOAT))
    return Yardstick(COPY, working_set, working_set, lambda: target.copy_(source))


def _in_place(working_set: int) -> Yardstick:
    numbers = torch.ones(working_set // FLOAT)
    return Yardstick(IN_PLACE, working_set, 2 * working_set, numbers.neg_)


def _product(side: int) -> Yardstick:
    left, right, product = (torch.randn(side, side) for _ in range(3))
    working_set = 3 * FLOAT * side**2
    return Yardstick(PRODUCT, working_set, side**3, lambda: torch.mm(left, right, out=product))


def _side(cache: int, most: int) -> int:
    """Return the side, a multiple of 16, of three matrices that fill half a cache."""
    side = math.isqrt(cache // (2 * 3 * FLOAT)) // 16 * 16
    return min(max(side, 16), most)
