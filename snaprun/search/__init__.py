"""Searches for the best values of some keys of a run, with Optuna; needs the `search` extra."""

import importlib

from snaprun.checks import UserError
from snaprun.search.options import Options

__all__ = ["Options", "needed"]


def needed() -> None:
    """Raise UserError if Optuna is not installed."""
    try:
        importlib.import_module("optuna")
    except ImportError as error:
        raise UserError(
            "snaprun search needs the package optuna, which is not installed: "
            "pip install 'snaprun[search]'."
        ) from error
