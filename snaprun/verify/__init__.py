"""Independent oracles for every cell, rule and backend: `snaprun verify`."""

from snaprun.verify.check import Check, table
from snaprun.verify.suite import verify

__all__ = ["Check", "table", "verify"]
