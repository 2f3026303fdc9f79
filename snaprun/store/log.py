"""The metrics of a run: whole lines appended to a file, and a mark of how far they go."""

import json
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass

from snaprun.checks import refuse
from snaprun.files import Folder, writing
from snaprun.store.schema import MOST_OF_METRICS, check_counters

_REMEDY = "Start the run afresh with restart=true."


@dataclass(frozen=True)
class Mark:
    """The size and checksum of the first rows of the metrics, those written before a checkpoint."""

    size: int  # bytes
    crc32: int  # of those bytes

    def __post_init__(self) -> None:
        if not all(type(x) is int and 0 <= x <= 2**53 for x in (self.size, self.crc32)):
            raise ValueError(f"{self} is no mark of metrics")


class Log:
    """The file `name` in `folder`; `append` hands each line to the operating system in one write.

    The file keeps `prefix`, its first bytes as `marked` returns them, or starts afresh if `prefix`
    is empty. If the file has a second name (a hard link), it stays unchanged under that name.
    """

    def __init__(self, folder: Folder, name: str, prefix: bytes = b"") -> None:
        self._path, self._size, self._crc = folder.path / name, len(prefix), zlib.crc32(prefix)
        with writing(self._path):
            found = folder.stat(name)
            if not prefix:
                folder.remove(name)
            elif found and found.st_nlink > 1:
                with folder.atomic(name) as file:
                    file.write(prefix)
            self._file = folder.file(name, "ab", buffering=0)
            try:
                self._file.truncate(self._size)
            except BaseException:
                self._file.close()
                raise

    def append(self, line: bytes) -> None:
        """Append `line`; if the disk is full, no part of the line stays in the file."""
        with writing(self._path):
            try:
                left = memoryview(line)
                while left:
                    left = left[self._file.write(left) :]
            except OSError:
                with suppress(OSError):
                    self._file.truncate(self._size)
                raise
        self._size += len(line)
        self._crc = zlib.crc32(line, self._crc)

    def mark(self) -> Mark:
        """Bring all lines to the disk, then return their mark."""
        with writing(self._path):
            os.fsync(self._file.fileno())
        return Mark(self._size, self._crc)

    def close(self) -> None:
        """Close the file; may be repeated."""
        self._file.close()


def marked(folder: Folder, name: str, mark: Mark, tokens: int | None = None) -> bytes:
    """Return the first bytes of the file `name`, those that `mark` stands for.

    Raises UserError if the file does not begin with these bytes. With `tokens`, also raises
    UserError if the bytes are not whole rows or the last row has a data-time after `tokens`.
    """
    path = str(folder.path / name)
    if not mark.size and not mark.crc32:
        return b""
    try:
        prefix = folder.read(name, MOST_OF_METRICS)[: mark.size]
    except OSError as error:
        refuse("metrics", path, f"a readable file ({error.strerror})", _REMEDY)
    if mark != Mark(len(prefix), zlib.crc32(prefix)):
        refuse("metrics", path, f"the {mark.size} bytes that the checkpoint goes with", _REMEDY)
    if tokens is not None:
        try:
            last = json.loads(prefix[prefix.rfind(b"\n", 0, -1) + 1 :])
            check_counters(last)
            whole = prefix.endswith(b"\n") and last["tokens"] <= tokens
        except (ValueError, RecursionError):
            whole = False
        if not whole:
            refuse("metrics", path, f"whole rows of up to {tokens} tokens", _REMEDY)
    return prefix
