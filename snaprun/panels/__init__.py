"""Panels: arms compared on equal seeds, each at the learning rate that separate seeds chose."""

from snaprun.panels.panel import Panel, Selection, under
from snaprun.panels.reproduce import reproduce

__all__ = ["Panel", "Selection", "reproduce", "under"]
