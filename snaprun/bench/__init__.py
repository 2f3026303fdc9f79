"""Measures backends and engines on this machine: kernel, step, and so on."""

from snaprun.bench.options import KEYS, PARTS, BenchOptions
from snaprun.bench.results import Results
from snaprun.bench.run import run

__all__ = ["KEYS", "PARTS", "BenchOptions", "Results", "run"]
