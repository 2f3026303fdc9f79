"""The recurrent core and its Jacobians."""

from snaprun.core.recurrent import Record, RecurrentCore
from snaprun.core.sizes import Sizes, Storage

__all__ = ["Record", "RecurrentCore", "Sizes", "Storage"]
