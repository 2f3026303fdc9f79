"""Compares every cell, rule and backend with independent oracles: `snaprun verify`."""

from snaprun.verify.check import Check, as_text
from snaprun.verify.suite import verify

__all__ = ["Check", "as_text", "verify"]
