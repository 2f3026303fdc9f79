"""Describes the machine that a bench runs on."""

import os
import platform
from typing import Any

import numpy
import torch

from snaprun import __version__, hardware


def facts(threads: int, native_isa: str | None = None) -> dict[str, Any]:
    """Collect processor, cores, threads, versions, and how busy the machine is at the start."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": hardware.cpu(),
        "cores": hardware.cores(),
        "threads": threads,
        "isa": torch.backends.cpu.get_cpu_capability(),
        "native_isa": native_isa,
        "caches": {cache.name: cache.bytes for cache in hardware.caches()},
        "load_average": load,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "snaprun": __version__,
    }


def line(known: dict[str, Any]) -> str:
    """Format the facts for a terminal."""
    isa = known["isa"] + (f" (native {known['native_isa']})" if known["native_isa"] else "")
    text = (
        f"{known['cpu']}, {known['cores']} cores, {isa}, threads={known['threads']}; "
        f"torch {known['torch']}, python {known['python']}, snaprun {known['snaprun']}"
    )
    load = known["load_average"]
    if load is not None and load > 0.5:
        text += f"\nThe machine is busy (load average {load:.1f}): take the times with care."
    return text
