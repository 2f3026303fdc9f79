"""The recurrent core and its Jacobians."""

from snaprun.core.recurrent import Record, RecurrentCore

__all__ = ["Record", "RecurrentCore"]
