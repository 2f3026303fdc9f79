"""Writing a run, so that a run killed at any moment leaves files that can be read."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from snaprun.checks import refuse
from snaprun.store.mirror import TensorBoard
from snaprun.store.schema import CONFIG, METRICS, SUMMARY, Summary


class RunWriter:
    """Writes the files of one run; a context manager that closes the metrics.

    `folder` is created, `config` (a plain nested dict) written, and the metrics of a broken
    earlier attempt are discarded; a folder that holds a summary is refused. With `tensorboard`
    each row is mirrored into an event file in the same folder. Raises UserError.
    """

    def __init__(
        self, folder: Path | str, config: Mapping[str, Any], tensorboard: bool = False
    ) -> None:
        self.folder = Path(folder)
        if (self.folder / SUMMARY).exists():
            refuse(
                "run folder",
                str(self.folder),
                "one without a finished run",
                "Remove the folder to run it again.",
            )
        self._mirror = TensorBoard() if tensorboard else None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            refuse("run folder", str(self.folder), f"one that can be made ({error.strerror})")
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        write_atomically(self.folder / CONFIG, text)
        # Line-buffered: a row is with the operating system as soon as it is written.
        self._metrics = open(self.folder / METRICS, "w", buffering=1, encoding="utf-8")  # noqa: SIM115
        if self._mirror:
            self._mirror.open(self.folder)

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
        self.close()
        text = json.dumps(strict(summary.to_json()), indent=2, allow_nan=False)
        write_atomically(self.folder / SUMMARY, text + "\n")

    def close(self) -> None:
        """Close the files; a run without `finish` stays incomplete."""
        self._metrics.close()
        if self._mirror:
            self._mirror.close()

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
