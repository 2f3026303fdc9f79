"""The properties of the machine on which a computation runs."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

try:
    import resource
except ImportError:  # Windows
    resource = None


class Cache(NamedTuple):
    """A data cache of a core: its name, such as `L2`, and its bytes."""

    name: str
    bytes: int


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu() -> str:
    """Return the processor's name."""
    name = _entry(Path("/proc/cpuinfo"), "model name", ":")
    return name or platform.processor() or platform.machine()


def caches(folder: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> list[Cache]:
    """Return the first core's data caches, the smallest first; [] if the system lists none."""
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
    """Return the peak resident memory of this process so far, its libraries included."""
    # First, because ru_maxrss also counts the parent's memory at the fork.
    if found := _entry(Path("/proc/self/status"), "VmHWM", ":"):
        return 1024 * int(found.split()[0])
    if resource is None:
        return psutil.Process().memory_info().peak_wset  # pyright: ignore
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # Linux counts in KiB


def available_bytes() -> tuple[int, str]:
    """Return the bytes that this process may still take, and what bounds them.

    The result is the least of the machine's available memory, the rest of the limits of the
    process's control groups (version 1 and 2), and the rest of the process's own limits
    (RLIMIT_AS, RLIMIT_DATA). Nothing is allocated.
    """
    return min([(psutil.virtual_memory().available, "on this machine"), *_limits(), *_groups()])


def _limits() -> Iterator[tuple[int, str]]:
    """Yield the bytes left of this process's own limits."""
    if resource is None:
        return
    memory = psutil.Process().memory_info()
    for name, used in (("AS", memory.vms), ("DATA", getattr(memory, "data", memory.vms))):
        limit, _ = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
        if limit != resource.RLIM_INFINITY:
            yield max(0, limit - used), f"within RLIMIT_{name}"


# For each version: the mount point, and the files of limit and use; cache is part of the use.
_VERSIONS = {
    "": ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": (
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
}


def _groups(
    membership: Path = Path("/proc/self/cgroup"), root: str = "/"
) -> Iterator[tuple[int, str]]:
    """Yield the bytes left in this process's control groups and in all groups above them."""
    with suppress(OSError):
        for line in membership.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            for version in set(controllers.split(",")) & set(_VERSIONS):
                mount, limit, used, cache = _VERSIONS[version]
                # In a container the group's path is often missing: the mount begins at the group.
                base = Path(root) / mount.lstrip("/")
                here = base / group.lstrip("/")
                for folder in [here, *here.parents]:
                    with suppress(OSError, ValueError):
                        most = int((folder / limit).read_text())  # ValueError: "max"
                        kept = int(_entry(folder / "memory.stat", cache) or 0)
                        left = most - int((folder / used).read_text()) + kept
                        yield max(0, left), "in the control group"
                    if folder == base:
                        break


def _entry(file: Path, name: str, separator: str = " ") -> str:
    """Return the text after the first `name` in a file of the kernel, or "" if there is none."""
    with suppress(OSError):
        for line in file.read_text().splitlines():
            key, _, value = line.partition(separator)
            if key.strip() == name:
                return value.strip()
    return ""
