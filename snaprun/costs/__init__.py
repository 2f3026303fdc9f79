"""Counts what learning rules cost, from the masks alone."""

from snaprun.costs.table import Size, as_text, count

__all__ = ["Size", "as_text", "count"]
