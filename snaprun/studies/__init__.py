"""Panels compare arms on equal seeds, each arm at a learning rate chosen on other seeds."""

from snaprun.studies.dry import Left, left
from snaprun.studies.panel import Panel, Selection, under
from snaprun.studies.plan import Planner
from snaprun.studies.reproduce import derive, reproduce

__all__ = ["Left", "Panel", "Planner", "Selection", "derive", "left", "reproduce", "under"]
