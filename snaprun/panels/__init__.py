"""Panels: arms compared on equal seeds, each at the learning rate that separate seeds chose."""

from snaprun.panels.dry import Left, left
from snaprun.panels.panel import Panel, Selection, under
from snaprun.panels.plan import Planner
from snaprun.panels.reproduce import derive, reproduce

__all__ = ["Left", "Panel", "Planner", "Selection", "derive", "left", "reproduce", "under"]
