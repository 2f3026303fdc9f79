"""An event file of TensorBoard in the run's folder; its scalars are the metrics against tokens."""

import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from snaprun.metrics import COUNTERS
from snaprun.trackers.base import Row, Tracked, Tracker, needing

_PREFIX = "events.out.tfevents."


class TensorBoard(Tracker):
    """Replaces the event file on every `open`, since TensorBoard draws two files as two runs.

    >>> tracker = TensorBoard()  # as logger=tensorboard makes it
    """

    def __init__(self) -> None:
        with needing("tensorboard"):
            # protobuf makes its classes at import time, where pyright cannot see them.
            from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore
            from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore
            from tensorboard.summary.writer.record_writer import RecordWriter
        self._event, self._summary, self._records = Event, Summary, RecordWriter
        self._file: Any = None

    def open(self, run: Tracked, rows: Sequence[Row], known: str) -> str:
        """Replace the event files of the run's folder with one that has these rows."""
        self._run = run
        for stale in run.folder.names():
            if stale.startswith(_PREFIX):
                run.folder.remove(stale)
        name = f"{_PREFIX}{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}"
        # TensorBoard's own writer has a thread, in which a full disk would end in a traceback.
        self._file = run.folder.file(name, "xb")
        self._add(wall_time=time.time(), file_version="brain.Event:2")
        self.write(rows)
        return ""

    def write(self, rows: Sequence[Row]) -> None:
        """Write the rows without their counters and null values."""
        for row in rows:
            values = [
                self._summary.Value(tag=name, simple_value=value)
                for name, value in row.items()
                if name not in COUNTERS and value is not None
            ]
            summary = self._summary(value=values)
            self._add(wall_time=self._run.time(row), step=row["tokens"], summary=summary)
        self._file.flush()

    def _add(self, **event: Any) -> None:
        self._records(self._file).write(self._event(**event).SerializeToString())

    def close(self, summary: Mapping[str, Any] | None) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
