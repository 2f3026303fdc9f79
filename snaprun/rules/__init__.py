"""Learning rules by the name that YAML uses."""

from snaprun.registry import Registry
from snaprun.rules.base import Cost, LearningRule, Setup
from snaprun.rules.bptt import BPTT
from snaprun.rules.eprop import EProp
from snaprun.rules.frozen import Frozen
from snaprun.rules.rate import Rate
from snaprun.rules.rflo import RFLO
from snaprun.rules.rtrl import RTRL
from snaprun.rules.sab import SAB
from snaprun.rules.snap import SnAp
from snaprun.rules.uoro import UORO

RULES = Registry(
    "rules",
    LearningRule,
    {
        "bptt": BPTT,
        "rtrl": RTRL,
        "snap": SnAp,
        "uoro": UORO,
        "rflo": RFLO,
        "frozen": Frozen,
        "sab": SAB,
        "eprop": EProp,
        "rate": Rate,
    },
    __name__,
)

__all__ = [
    "BPTT",
    "RFLO",
    "RTRL",
    "RULES",
    "SAB",
    "UORO",
    "Cost",
    "EProp",
    "Frozen",
    "LearningRule",
    "Rate",
    "Setup",
    "SnAp",
]
