"""The recurrent core and its Jacobians."""

from snaprun.core.recurrent import Linearise, Record, RecurrentCore
from snaprun.core.reminder import Attention, Bank, Recall, Reminder
from snaprun.core.sizes import Sizes, Storage

__all__ = [
    "Attention",
    "Bank",
    "Linearise",
    "Recall",
    "Record",
    "RecurrentCore",
    "Reminder",
    "Sizes",
    "Storage",
]
