"""Writing a run, so that a run killed at any moment leaves files that can be read."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import yaml
from filelock import FileLock, Timeout

from snaprun.checks import UserError, refuse
from snaprun.store.mirror import TensorBoard
from snaprun.store.schema import CONFIG, LOCK, METRICS, SUMMARY, Summary


class RunWriter:
    """Writes the files of one run; a context manager that closes the metrics.

    `folder` is created and locked, `config` (a plain nested dict) written, and the metrics of a
    broken earlier attempt are discarded; a folder that holds a summary, or that another process
    writes, is refused. With `tensorboard`
    each row is mirrored into an event file in the same folder. Raises UserError.
    """

    def __init__(
        self, folder: Path | str, config: Mapping[str, Any], tensorboard: bool = False
    ) -> None:
        self.folder = Path(folder)
        self._mirror = TensorBoard() if tensorboard else None
        self._lock = FileLock(self.folder / LOCK, timeout=0)
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            self._refuse("one that no other process writes", "Wait for that run to end.")
        except OSError as error:
            self._refuse(f"one that can be made and written ({error.strerror})")
        try:
            if (self.folder / SUMMARY).exists():
                remedy = "Remove the folder to run it again."
                self._refuse("one without a finished run", remedy)
            write_atomically(self.folder / CONFIG, text)
            # Line-buffered: a row is with the operating system as soon as it is written.
            self._metrics = open(self.folder / METRICS, "w", buffering=1, encoding="utf-8")  # noqa: SIM115
            if self._mirror:
                self._mirror.open(self.folder)
        except OSError as error:
            self._lock.release()
            self._refuse(f"one that can be written ({error.strerror})")
        except UserError:
            self._lock.release()
            raise

    def _refuse(self, accepted: str, remedy: str = "Mend the folder or set results=.") -> NoReturn:
        refuse("run folder", str(self.folder), accepted, remedy)

    def row(
        self, *, tokens: int, updates: int, seconds: float, **values: float | int | None
    ) -> None:
        """Append one row of metrics; NaN and ±∞ become null."""
        row = strict({"tokens": tokens, "updates": updates, "seconds": seconds, **values})
        self._metrics.write(json.dumps(row, allow_nan=False) + "\n")
        if self._mirror:
            self._mirror.row(row)

    def finish(self, summary: Summary) -> None:
        """Close the metrics, then write the summary, which marks the run as done."""
        self._metrics.flush()
        # The summary must not survive a power cut that its metrics do not survive.
        os.fsync(self._metrics.fileno())
        text = json.dumps(strict(summary.to_json()), indent=2, allow_nan=False)
        write_atomically(self.folder / SUMMARY, text + "\n")
        self.close()

    def close(self) -> None:
        """Close the files; a run without `finish` stays incomplete."""
        self._metrics.close()
        if self._mirror:
            self._mirror.close()
        self._lock.release()

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to `path` so that a reader sees all of it or, after a crash, none of it."""
    # In the same folder, since a rename across file systems is a copy.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
