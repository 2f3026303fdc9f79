"""A run between two time steps on disk: parameters, optimiser, rule, data, counters.

checkpoint.pt is what torch.save writes, then the sha256 of it (32 bytes), since torch.load does
not notice a byte that has changed. Loading never runs code from the file.
"""

import hashlib
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NoReturn, cast

import torch

from snaprun import checks
from snaprun.store import CHECKPOINT, atomic
from snaprun.train.network import Network

VERSION = 2
RESTART = "Set restart=true to start the run afresh; what is there is kept aside."


class Due:
    """When the next checkpoint is due: every so many tokens (int) or seconds (float)."""

    def __init__(self, every: int | float | None):
        self._every = every
        self.begin(0)

    def begin(self, tokens: int) -> None:
        """Count from here."""
        self._tokens, self._time = tokens, time.monotonic()

    def reached(self, tokens: int) -> bool:
        """The next one is due."""
        if isinstance(self._every, float):
            return time.monotonic() - self._time >= self._every
        return self._every is not None and tokens - self._tokens >= self._every


def save(folder: Path, contents: Mapping[str, Any]) -> None:
    """Write `contents`, of numbers, strings, dicts, lists and tensors, to `folder`; by rename."""
    with atomic(folder / CHECKPOINT) as file:
        hashed = _Hashed(file)
        torch.save({"version": VERSION, **contents}, cast(IO[bytes], hashed))
        file.write(hashed.digest())


def load(folder: Path) -> dict[str, Any] | None:
    """The contents of the checkpoint in `folder`, on the CPU; None where there is none.

    Raises UserError for a damaged file or one of another version.
    """
    path = folder / CHECKPOINT
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        _refuse(path, str(error))
    size = hashlib.sha256().digest_size
    if hashlib.sha256(data[:-size]).digest() != data[-size:]:
        _refuse(path, "its sha256 differs: it is damaged, or of an older version")
    try:
        saved = torch.load(io.BytesIO(data[:-size]), map_location="cpu", weights_only=True)
        if not isinstance(saved, dict):
            raise ValueError("it holds no dict")
        version = saved.pop("version", None)
    except Exception as error:  # torch.load raises many types
        _refuse(path, _one_line(error))
    if version != VERSION:
        remedy = f"Use the snaprun that wrote it. {RESTART}"
        checks.refuse(f"version of {path}", version, f"{VERSION}", remedy)
    return saved


def restore(folder: Path, target: Any, saved: dict[str, Any]) -> None:
    """`target.load_state_dict(saved)`; UserError where it does not fit."""
    try:
        target.load_state_dict(saved)
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        _refuse(folder / CHECKPOINT, _one_line(error))


def load_network(folder: Path, network: Network) -> None:
    """Parameters of the checkpoint in `folder` into `network`; UserError if there are none."""
    saved = load(folder)
    if saved is None:
        remedy = "Train the run first: `snaprun train` writes the checkpoint."
        checks.refuse("run", str(folder), f"a folder that holds {CHECKPOINT}", remedy)
    restore(folder, network, saved["engine"]["network"])


class _Hashed:
    """A file to write to that takes the sha256 of all that passes."""

    def __init__(self, file: Any):
        self._file, self._sha256 = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        self._sha256.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def digest(self) -> bytes:
        return self._sha256.digest()


def _refuse(path: Path, reason: str) -> NoReturn:
    accepted = f"a readable checkpoint of this run (found: {reason})"
    checks.refuse("checkpoint", str(path), accepted, RESTART)


def _one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
