"""What a tracker offers: a copy of a run's rows where its user looks at them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from snaprun import checks
from snaprun.files import Folder

Row = Mapping[str, Any]  # a row of metrics.jsonl: numbers by name, None for those not finite


@dataclass(frozen=True)
class Tracked:
    """The run that a tracker copies."""

    folder: Folder
    config: Mapping[str, Any]  # its choices, without where and how it is written
    began: float  # POSIX time at which its clock, the column `seconds`, was 0

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return self.folder.path.name

    def time(self, row: Row) -> float:
        """Return the POSIX time of a row."""
        return self.began + row["seconds"]


class Tracker(ABC):
    """Copies a run's rows; the keys of `conf/logger/NAME.yaml` are the constructor's arguments.

    The constructor imports the tracker's library, in the block of `needing`, and checks the
    arguments; it raises UserError and writes nothing. An exception of another method ends the
    copy, not the run. `write` gets a few seconds' rows at once. The number `tokens` of a row is its
    place on the x axis.
    """

    @abstractmethod
    def open(self, run: Tracked, rows: Sequence[Row], known: str) -> str:
        """Make the tracker hold `rows`, those that the run has so far, and no others.

        A run that was killed continues from its last checkpoint, so a tracker may hold rows that
        the run no longer has. `known` is what `open` returned for an earlier attempt, or "".
        Returns the name by which the tracker finds the run again, or "".
        """

    @abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""

    @abstractmethod
    def close(self, summary: Mapping[str, Any] | None) -> None:
        """End the copy with the content of summary.json, or None if the run has not ended."""


def needing(name: str) -> AbstractContextManager[None]:
    """Turn an ImportError inside the block into a UserError that names the extra `name`."""
    return checks.needing(f"logger={name}", name, f"leave out the logger {name}")
