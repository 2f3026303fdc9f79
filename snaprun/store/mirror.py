"""The metrics once more, as TensorBoard scalars; needs the `tensorboard` extra but no torch."""

import time
from collections.abc import Mapping
from pathlib import Path

from snaprun.checks import UserError
from snaprun.store.schema import COUNTERS


class TensorBoard:
    """Scalars against tokens in an event file; UserError without the package."""

    def __init__(self) -> None:
        try:
            # protobuf makes its classes at import time, out of pyright's sight.
            from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore
            from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise UserError(
                "tensorboard=true needs the package tensorboard, which is not installed: "
                "pip install 'snaprun[tensorboard]', or set tensorboard=false."
            ) from error
        self._event, self._summary, self._open = Event, Summary, EventFileWriter

    def open(self, folder: Path) -> None:
        """Start an event file in `folder`; those of a broken earlier attempt are removed."""
        # TensorBoard would draw both attempts as one curve.
        for stale in folder.glob("events.out.tfevents.*"):
            stale.unlink()
        self._writer = self._open(str(folder))

    def row(self, row: Mapping[str, float | None]) -> None:
        """Mirror one row, at the step `tokens`; null values are left out."""
        values = [
            self._summary.Value(tag=name, simple_value=value)
            for name, value in row.items()
            if name not in COUNTERS and value is not None
        ]
        self._writer.add_event(
            self._event(
                wall_time=time.time(),
                step=int(row["tokens"] or 0),
                summary=self._summary(value=values),
            )
        )

    def close(self) -> None:
        """Write what is still queued and close the file; harmless when repeated."""
        self._writer.close()
