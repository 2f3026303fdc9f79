"""The trackers of a run, whose failures never reach the run."""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from snaprun.files import Folder
from snaprun.trackers.base import Row, Tracked, Tracker

KNOWN = "trackers.json"  # in the run's folder: what each tracker's `open` returned
EVERY = 5.0  # seconds between two writes to the trackers

_log = logging.getLogger(__name__)


class Trackers:
    """Hands rows to several trackers, by name, a few seconds' rows at a time.

    A tracker that raises an exception is left out from then on, with one line of warning.
    """

    def __init__(self, trackers: Mapping[str, Tracker]) -> None:
        self._trackers = dict(trackers)
        self._open: dict[str, Tracker] = {}
        self._pending: list[Row] = []
        self._written = 0.0

    def open(self, folder: Folder, config: Mapping[str, Any], metrics: bytes) -> None:
        """Begin, or continue, the copies of a run; `metrics` are its rows so far, as JSON lines."""
        if not self._trackers:
            return
        rows = [json.loads(line) for line in metrics.splitlines()]
        began = time.time() - (rows[-1]["seconds"] if rows else 0.0)
        run = Tracked(folder, config, began)
        before = _known(folder)
        known = dict(before)
        for name, tracker in self._trackers.items():
            self._open[name] = tracker
            with self._guarded(name, tracker):
                known[name] = tracker.open(run, rows, before.get(name, ""))
                if known[name] != before.get(name, ""):
                    folder.write(KNOWN, json.dumps(known) + "\n")

    def row(self, row: Row) -> None:
        """Take one more row."""
        if not self._open:
            return
        self._pending.append(row)
        if time.monotonic() - self._written >= EVERY:
            self.write()

    def write(self) -> None:
        """Hand all rows that were taken to the trackers."""
        rows, self._pending = self._pending, []
        for name, tracker in list(self._open.items()) if rows else ():
            with self._guarded(name, tracker):
                tracker.write(rows)
        self._written = time.monotonic()

    def close(self, summary: Mapping[str, Any] | None) -> None:
        """End the copies, with the run's summary if it has ended; may be repeated."""
        try:
            self.write()
        finally:
            while self._open:
                name, tracker = self._open.popitem()
                with self._guarded(name, tracker):
                    tracker.close(summary)

    @contextmanager
    def _guarded(self, name: str, tracker: Tracker) -> Iterator[None]:
        """Inside the block an exception leaves the tracker out."""
        try:
            yield
        except Exception as error:  # of a library, a network or a disk: it may be any
            self._open.pop(name, None)
            said = " ".join(f"{type(error).__name__}: {error}".split())
            _log.warning(
                "logger=%s fails (%s). The run continues without it; metrics.jsonl has all rows.",
                name,
                said if len(said) <= 200 else f"{said[:197]}...",
            )
            with suppress(Exception):
                tracker.close(None)


def _known(folder: Folder) -> dict[str, str]:
    with suppress(OSError, ValueError):
        known = json.loads(folder.read(KNOWN, 2**16))
        if isinstance(known, dict):
            return {name: value for name, value in known.items() if isinstance(value, str)}
    return {}
