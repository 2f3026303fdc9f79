"""Writing runs so that a run killed at any moment leaves files that can be read or continued."""

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
from snaprun.identity import without_whereabouts
from snaprun.store.lock import Lock
from snaprun.store.log import Log, Mark, marked
from snaprun.store.schema import BEST, CHECKPOINT, CONFIG, FAILURE, METRICS, SUMMARY, Summary
from snaprun.store.seal import sealed
from snaprun.trackers import Trackers

_log = logging.getLogger(__name__)


class RunWriter:
    """Writes the files of one run; a context manager that closes them.

    The constructor makes and locks `folder`; the files of a run in it stay as they are until
    `begin` or `resume`, one of which must come first. To choose between these two, look into the
    folder after the construction. `config` is a plain nested dict. The `trackers` get the rows,
    too. Neither `folder` nor the folder above it may be a link. Raises UserError if another process
    writes the run. The constructor and every method raise UserError if the disk is full, or the
    folder cannot be written or was replaced.
    """

    def __init__(
        self, folder: Path | str, config: Mapping[str, Any], trackers: Trackers | None = None
    ) -> None:
        self.folder = Path(folder)
        self._config = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        self._choices = without_whereabouts(config)
        self._trackers = trackers or Trackers({})
        self._summary: Mapping[str, Any] | None = None
        self._metrics: Log | None = None
        self._lock = Lock(self.folder)
        try:
            self.opened = self._lock.enter()
        except BaseException:
            self._lock.release()
            raise

    def begin(self) -> None:
        """Start afresh, without the rows of an earlier attempt; raises UserError if it was done."""
        if self.opened.stat(SUMMARY):
            remedy = "Set restart=true to run it again."
            refuse("run folder", str(self.folder), "one without a finished run", remedy)
        self._lock.require()
        with writing(self.folder):
            self.opened.remove(BEST)
        self._start(b"")

    def resume(self, mark: Mark, tokens: int | None = None) -> None:
        """Go on at `tokens`, after the rows that `mark` stands for, even if the run was done.

        Raises UserError, and changes nothing, if these rows are not as they were marked.
        """
        self._start(marked(self.opened, METRICS, mark, tokens))

    def _start(self, rows: bytes) -> None:
        self._lock.require()
        with writing(self.folder):
            # The summary first, because it vouches for the other files as they were.
            for stale in (SUMMARY, FAILURE):
                self.opened.remove(stale)
        self.opened.write(CONFIG, self._config)
        self._metrics = Log(self.opened, METRICS, rows)
        self._trackers.open(self.opened, self._choices, rows)

    def row(
        self, *, tokens: int, updates: int, seconds: float, **values: float | int | None
    ) -> None:
        """Append one row of metrics; NaN and ±∞ become null."""
        self._lock.require()
        row = strict({"tokens": tokens, "updates": updates, "seconds": seconds, **values})
        self._opened.append(json.dumps(row, allow_nan=False).encode() + b"\n")
        self._trackers.row(row)

    def mark(self) -> Mark:
        """Bring the metrics to the disk, and return their mark for a later `resume`."""
        return self._opened.mark()

    @contextmanager
    def checkpoint(self, name: str = CHECKPOINT) -> Iterator[BinaryIO]:
        """Yield a binary file that replaces the checkpoint `name` when the block ends."""
        self._lock.require()
        with self.opened.atomic(name) as file:
            yield file

    def finish(self, summary: Summary) -> None:
        """Close the metrics, then write the summary, which marks the run as done."""
        self._lock.require()
        # The summary must not survive a power cut that its metrics do not survive.
        files = {CONFIG: zlib.crc32(self._config.encode()), METRICS: self.mark().crc32}
        self._trackers.write()  # before the run counts as done, after which nobody resumes it
        content = strict(summary.to_json())
        data = sealed(content, files)
        self.opened.write(SUMMARY, json.dumps(data, indent=2, allow_nan=False) + "\n")
        self._summary = content
        self.close()

    def fail(self, trace: str) -> None:
        """Write the `trace` of what ended this attempt; only warns if that is not possible."""
        try:
            self.opened.write(FAILURE, trace)
        except UserError as error:
            _log.warning("%s", error)

    def close(self) -> None:
        """Close the files and release the lock; without `finish`, the run is not done."""
        try:
            if self._metrics:
                self._metrics.close()
            self._trackers.close(self._summary)
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
    """Return `value` in the types of strict JSON: no numpy scalars, None for non-finite floats."""
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
