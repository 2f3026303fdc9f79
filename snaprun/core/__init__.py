"""The recurrent core and its Jacobians."""

from snaprun.core.recurrent import Linearise, Record, RecurrentCore
from snaprun.core.sizes import Sizes, Storage

__all__ = ["Linearise", "Record", "RecurrentCore", "Sizes", "Storage"]
