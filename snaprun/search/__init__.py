"""Searches for the best values of some keys of a run, with Optuna; needs the `search` extra."""

import importlib

from snaprun.checks import needing
from snaprun.search.options import Options

__all__ = ["Options", "needed"]


def needed() -> None:
    """Raise UserError if Optuna is not installed."""
    with needing("snaprun search", "search"):
        importlib.import_module("optuna")
