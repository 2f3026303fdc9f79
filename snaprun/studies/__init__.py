"""Panels: arms compared on equal seeds, each at the learning rate that separate seeds chose."""

from snaprun.studies.dry import Left, left
from snaprun.studies.panel import Panel, Selection, under
from snaprun.studies.plan import Planner
from snaprun.studies.reproduce import derive, reproduce

__all__ = ["Left", "Panel", "Planner", "Selection", "derive", "left", "reproduce", "under"]
