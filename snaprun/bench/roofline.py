"""The two ceilings of the machine, and how near to them a kernel comes."""

from dataclasses import dataclass
from pathlib import Path

import torch

from snaprun.bench.interleave import Contender, Times

SIDE = 1024  # of the square matrices of the sgemm
SGEMM, COPY = "sgemm", "copy"
# The copied buffer over the last-level cache, and its size where that cache is unknown.
CACHES, UNKNOWN_CACHE = 4, 32 * 2**20
MOST_BYTES = 2**29


@dataclass(frozen=True)
class Work:
    """What one step of a kernel cannot do without."""

    macs: int  # multiply-adds
    bytes: int  # read and written


@dataclass(frozen=True)
class Ceilings:
    """What the machine can do at most, at this number of threads."""

    macs_per_s: float  # of a float32 matrix product
    bytes_per_s: float  # of a copy, read and written

    def seconds(self, work: Work) -> float:
        """The roofline: max(bytes / copy bandwidth, MACs / sgemm peak)."""
        return max(work.bytes / self.bytes_per_s, work.macs / self.macs_per_s)

    def bound(self, work: Work) -> str:
        """Which of the two it is."""
        by_bytes = work.bytes / self.bytes_per_s > work.macs / self.macs_per_s
        return "bytes" if by_bytes else "MACs"


@dataclass(frozen=True)
class Yardsticks:
    """The contenders that measure the ceilings, to run among the others."""

    side: int
    copied: int  # bytes read and written by one copy
    contenders: tuple[Contender, Contender]

    @classmethod
    def make(cls, side: int = SIDE, copied: int | None = None) -> "Yardsticks":
        """A float32 product of two side × side matrices, and a copy out of every cache's reach."""
        if copied is None:
            copied = min(CACHES * (last_level_cache() or UNKNOWN_CACHE), MOST_BYTES)
        left, right, product = (torch.randn(side, side) for _ in range(3))
        # Written at once: untouched zeros would all be the same page of memory.
        source, target = torch.ones(2, max(copied // 8, 1))

        def multiply(times: int) -> None:
            for _ in range(times):
                torch.mm(left, right, out=product)

        def copy(times: int) -> None:
            for _ in range(times):
                target.copy_(source)

        numbers = 8 * source.numel()
        return cls(side, numbers, (Contender(SGEMM, multiply), Contender(COPY, copy)))

    def ceilings(self, sgemm: Times, copy: Times) -> Ceilings:
        """The best that was seen of each."""
        return Ceilings(self.side**3 / sgemm.best, self.copied / copy.best)


def best(ceilings: list[Ceilings]) -> Ceilings:
    """The highest of each."""
    return Ceilings(
        max(one.macs_per_s for one in ceilings), max(one.bytes_per_s for one in ceilings)
    )


def last_level_cache() -> int | None:
    """Bytes of the largest cache that the first core sees, where the system tells."""
    sizes = []
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text().strip()
        unit = {"K": 2**10, "M": 2**20}.get(text[-1:], 1)
        digits = text.rstrip("KM")
        if digits.isdigit():
            sizes.append(int(digits) * unit)
    return max(sizes, default=None)
