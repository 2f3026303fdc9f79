"""The machine that a computation runs on."""

import os
import platform
import resource
import sys
from pathlib import Path
from typing import NamedTuple


class Cache(NamedTuple):
    """A data cache that a core sees: `L2`, and its bytes."""

    name: str
    bytes: int


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for entry in info.read_text().splitlines():
            if entry.startswith("model name"):
                return entry.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def caches(folder: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> list[Cache]:
    """The data caches of the first core, the smallest first; empty where the system is silent."""
    found = []
    for index in folder.glob("index*"):
        try:
            kind, level, size = (
                (index / name).read_text().strip() for name in ("type", "level", "size")
            )
        except OSError:
            continue
        digits = size.rstrip("KM")
        if kind != "Instruction" and digits.isdigit():
            unit = {"K": 2**10, "M": 2**20}.get(size[-1], 1)
            found.append(Cache(f"L{level}", int(digits) * unit))
    return sorted(found, key=lambda cache: cache.bytes)


def peak_bytes() -> int:
    """The most memory that this process has had resident so far, its libraries included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # Linux counts in KiB
