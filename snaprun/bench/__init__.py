"""Measures backends and engines on this machine: kernel, step, python, growth, memory and peers."""

from snaprun.bench.options import KEYS, PARTS, BenchOptions
from snaprun.bench.results import Results
from snaprun.bench.run import run

__all__ = ["KEYS", "PARTS", "BenchOptions", "Results", "run"]
