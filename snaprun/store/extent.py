"""How far a run goes, and which of its bounds ended it."""

from dataclasses import dataclass

TOKENS, TIME, PATIENCE = "tokens", "time", "patience"  # `ended_by` of a summary's extras


@dataclass(frozen=True)
class Extent:
    """The bounds of a run, which is finished with the first one that it reaches.

    `tokens` are of data-time, `time` is in seconds of training, and `patience` counts validations
    in a row that did not improve the task's own metric. A bound that is None does not count, and no
    run ends before its first batch has.

    >>> Extent(tokens=1000, patience=3).ended_by(tokens=800, seconds=9.0, stale=3)
    'patience'
    >>> Extent(tokens=1000, time=60.0).ended_by(tokens=800, seconds=9.0, stale=3)
    ''
    """

    tokens: int
    time: float | None = None
    patience: int | None = None

    def ended_by(self, tokens: int, seconds: float, stale: int) -> str:
        """Return the name of the bound that a run has reached, or ""."""
        if tokens >= self.tokens:
            return TOKENS
        if self.time is not None and seconds >= self.time and tokens:
            return TIME
        if self.patience is not None and stale >= self.patience:
            return PATIENCE
        return ""
