"""A copy of the metrics as TensorBoard scalars; needs the `tensorboard` extra but not torch."""

import json
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from snaprun.checks import UserError
from snaprun.files import Folder, writing
from snaprun.store.schema import COUNTERS, METRICS


class TensorBoard:
    """An event file of scalars against tokens; raises UserError if tensorboard is not installed."""

    def __init__(self) -> None:
        try:
            # protobuf makes its classes at import time, where pyright cannot see them.
            from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore
            from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError as error:
            raise UserError(
                "tensorboard=true needs the package tensorboard, which is not installed: "
                "pip install 'snaprun[tensorboard]', or set tensorboard=false."
            ) from error
        self._event, self._summary, self._records = Event, Summary, RecordWriter
        self._file = None

    def open(self, folder: Folder) -> None:
        """Replace the event files in `folder` with a new one that has the rows of the metrics.

        With two files, TensorBoard would draw an interrupted run and its continuation as two runs.
        """
        name = f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}"
        self._path = folder.path / name
        with writing(self._path):
            for stale in folder.names():
                if stale.startswith("events.out.tfevents."):
                    folder.remove(stale)
            # TensorBoard's own writer has a thread, in which a full disk would end in a traceback.
            self._file = folder.file(name, "xb")
        self._write(file_version="brain.Event:2")
        for line in folder.read(METRICS).splitlines():
            self.row(json.loads(line))

    def row(self, row: Mapping[str, float | None]) -> None:
        """Write one row at the step `tokens`, without its null values."""
        values = [
            self._summary.Value(tag=name, simple_value=value)
            for name, value in row.items()
            if name not in COUNTERS and value is not None
        ]
        self._write(step=int(row["tokens"] or 0), summary=self._summary(value=values))

    def _write(self, **event: Any) -> None:
        assert self._file, "open comes first"
        with writing(self._path):
            record = self._event(wall_time=time.time(), **event).SerializeToString()
            self._records(self._file).write(record)
            self._file.flush()

    def close(self) -> None:
        """Close the file; may be repeated."""
        if self._file:
            with writing(self._path):
                self._file.close()
