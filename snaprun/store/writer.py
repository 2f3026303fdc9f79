"""Writing a run, so that a run killed at any moment leaves files that can be read or continued."""

import json
import logging
import math
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import yaml

from snaprun.checks import UserError, refuse
from snaprun.files import writing
from snaprun.store.lock import Lock
from snaprun.store.log import Log, Mark, marked
from snaprun.store.mirror import TensorBoard
from snaprun.store.schema import CHECKPOINT, CONFIG, FAILURE, METRICS, SUMMARY, Summary
from snaprun.store.seal import sealed

_log = logging.getLogger(__name__)


class RunWriter:
    """Writes the files of one run; a context manager that closes them.

    `folder` is made and locked, so what lies in it stays as it is until `begin` or `resume`, one
    of which comes first; to choose between them, look into the folder after the construction.
    `config` is a plain nested dict. With `tensorboard` each row is mirrored into an event file in
    the same folder. Raises UserError where another process writes the run, and here as in every
    method where the disk is full or the folder cannot be written, or is no longer the one that was
    locked. Neither `folder` nor the folder that it lies in may be a link.
    """

    def __init__(
        self, folder: Path | str, config: Mapping[str, Any], tensorboard: bool = False
    ) -> None:
        self.folder = Path(folder)
        self._config = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        self._mirror = TensorBoard() if tensorboard else None
        self._metrics: Log | None = None
        self._lock = Lock(self.folder)
        try:
            self.opened = self._lock.enter()
        except BaseException:
            self._lock.release()
            raise

    def begin(self) -> None:
        """Start afresh: rows of an earlier attempt are dropped, a run that is done is refused."""
        if self.opened.stat(SUMMARY):
            remedy = "Set restart=true to run it again."
            refuse("run folder", str(self.folder), "one without a finished run", remedy)
        self._start(b"")

    def resume(self, mark: Mark, tokens: int | None = None) -> None:
        """Go on at `tokens`, behind the rows that `mark` stands for, also where the run was done.

        Raises UserError, and changes nothing, where these rows are not as they were marked.
        """
        self._start(marked(self.opened, METRICS, mark, tokens))

    def _start(self, rows: bytes) -> None:
        self._lock.require()
        with writing(self.folder):
            # The summary first: it vouches for the others as they were.
            for stale in (SUMMARY, FAILURE):
                self.opened.remove(stale)
        self.opened.write(CONFIG, self._config)
        self._metrics = Log(self.opened, METRICS, rows)
        if self._mirror:
            self._mirror.open(self.opened)

    def row(
        self, *, tokens: int, updates: int, seconds: float, **values: float | int | None
    ) -> None:
        """Append one row of metrics; NaN and ±∞ become null."""
        self._lock.require()
        row = strict({"tokens": tokens, "updates": updates, "seconds": seconds, **values})
        self._opened.append(json.dumps(row, allow_nan=False).encode() + b"\n")
        if self._mirror:
            self._mirror.row(row)

    def mark(self) -> Mark:
        """Bring the metrics to the disk; returns where they stand, for a later `resume`."""
        return self._opened.mark()

    @contextmanager
    def checkpoint(self) -> Iterator[BinaryIO]:
        """A binary file that takes the place of the last checkpoint when the block ends."""
        self._lock.require()
        with self.opened.atomic(CHECKPOINT) as file:
            yield file

    def finish(self, summary: Summary) -> None:
        """Close the metrics, then write the summary, which marks the run as done."""
        self._lock.require()
        # The summary must not survive a power cut that its metrics do not survive.
        files = {CONFIG: zlib.crc32(self._config.encode()), METRICS: self.mark().crc32}
        data = sealed(strict(summary.to_json()), files)
        text = json.dumps(data, indent=2, allow_nan=False)
        self.opened.write(SUMMARY, text + "\n")
        self.close()

    def fail(self, trace: str) -> None:
        """Leave the `trace` of what ended this attempt in the folder, if it still takes it."""
        try:
            self.opened.write(FAILURE, trace)
        except UserError as error:
            _log.warning("%s", error)

    def close(self) -> None:
        """Close the files and leave the run to others; one without `finish` is not done."""
        try:
            if self._metrics:
                self._metrics.close()
            if self._mirror:
                self._mirror.close()
        finally:
            self._lock.release()

    @property
    def _opened(self) -> Log:
        assert self._metrics, "begin or resume comes first"
        return self._metrics

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def strict(value: Any) -> Any:
    """`value` in types that strict JSON has: numpy scalars unpacked, non-finite floats as None."""
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
