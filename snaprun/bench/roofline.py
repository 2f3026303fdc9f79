"""What the machine can do at most with a working set, and how near to it a kernel comes."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch

from snaprun.bench.interleave import Clock, quartiles
from snaprun.figures.words import CEILING_NOT_REACHED
from snaprun.hardware import Cache, caches

TRY = 0.003  # seconds of a try
TRIES = 50  # of every yardstick, at least
COPY, IN_PLACE, PRODUCT = "copy", "in place", "product"
SIDE = 512  # of the square matrices of a product, at most: larger ones are no faster
UNKNOWN_CACHE = 32 * 2**20  # bytes of the last-level cache where the system does not tell
MOST_BYTES = 2**29
FLOAT = 4  # bytes


@dataclass(frozen=True)
class Work:
    """What one step of a kernel cannot do without."""

    macs: int  # multiply-adds
    bytes: int  # read and written


@dataclass(frozen=True)
class Ceilings:
    """What the machine can do at most, at this number of threads and on this working set."""

    macs_per_s: float  # of a float32 matrix product
    bytes_per_s: float  # read and written, by a copy or in place

    def seconds(self, work: Work) -> float:
        """The roofline: max(bytes / bandwidth, MACs / product's rate)."""
        return max(work.bytes / self.bytes_per_s, work.macs / self.macs_per_s)

    def bound(self, work: Work) -> str:
        """Which of the two it is."""
        by_bytes = work.bytes / self.bytes_per_s > work.macs / self.macs_per_s
        return "bytes" if by_bytes else "MACs"


@dataclass
class Yardstick:
    """An operation that is as fast as the machine allows, and the tries to see how fast."""

    what: str
    working_set: int  # bytes
    amount: int  # bytes read and written, or multiply-adds, of one go
    go: Callable[[], object]
    seconds: list[float] = field(default_factory=list)  # of a go, one a try

    def attempt(self, clock: Clock) -> None:
        """One try: as many goes as fill it, after one that brings the data into the caches."""
        fastest = min(self.seconds, default=math.inf)
        goes = math.ceil(TRY / fastest) if fastest > 0 else 1
        self.go()
        begun = clock()
        for _ in range(max(goes, 1)):
            self.go()
        self.seconds.append((clock() - begun) / max(goes, 1))

    @property
    def best(self) -> float:
        """The amount a second of the fastest try."""
        return self.amount / min(self.seconds)


class Yardsticks:
    """The ceilings of some working sets (bytes), tried once between any two rounds of the bench.

    A copy and an update in place have the working set itself, one beyond the caches at most twice
    the last of them. A product is of square matrices that fill half a cache.
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
        """A try of each."""
        for one in self.all:
            one.attempt(self._clock)

    def finish(self) -> None:
        """The tries that are missing to TRIES."""
        while any(len(one.seconds) < TRIES for one in self.all):
            self.turn()

    def ceilings(self, working_set: int) -> Ceilings:
        """The best that was seen at this working set; a product may have a smaller one."""
        size = self._within(working_set)
        products = [one for one in self.all if one.what == PRODUCT]
        fitting = [one for one in products if one.working_set <= working_set]
        return Ceilings(
            max(one.best for one in fitting or products[:1]),
            max(
                one.best
                for one in self.all
                if one.what in (COPY, IN_PLACE) and one.working_set == size
            ),
        )

    def level(self, working_set: int) -> str:
        """The first cache that holds it, or `memory`; empty where the caches are unknown."""
        names = [cache.name for cache in self._caches if working_set <= cache.bytes]
        return (names or ["memory"])[0] if self._caches else ""

    def as_rows(self) -> pd.DataFrame:
        """A row a yardstick: G bytes or multiply-adds a second of the best try and the median."""
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
    """Parts of one roofline by name, and a note: none of them where one is above 1.

    For then the kernel is faster than what was measured as the most that the machine can do.
    """
    if max(fractions.values()) > 1:
        return {**dict.fromkeys(fractions), "note": CEILING_NOT_REACHED}
    return {**fractions, "note": ""}


def _copy(working_set: int) -> Yardstick:
    # Written at once: untouched zeros would all be the same page of memory.
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
    """Of three matrices that fill half a cache, a multiple of 16."""
    side = math.isqrt(cache // (2 * 3 * FLOAT)) // 16 * 16
    return min(max(side, 16), most)
