"""Trackers by the name that the user types after `logger=`."""

from snaprun.registry import Registry
from snaprun.trackers.base import Row, Tracked, Tracker, needing
from snaprun.trackers.several import Trackers

TRACKERS = Registry("trackers", Tracker, {}, __name__)

__all__ = ["TRACKERS", "Row", "Tracked", "Tracker", "Trackers", "needing"]
