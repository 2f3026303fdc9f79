"""The metrics of a run: whole lines, appended, and a mark of how far they go."""

import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from snaprun.checks import refuse
from snaprun.files import writing


@dataclass(frozen=True)
class Mark:
    """A prefix of the metrics, by which a checkpoint tells the rows that belong to it."""

    size: int  # bytes
    crc32: int  # of those bytes

    def __post_init__(self) -> None:
        if not all(type(value) is int and value >= 0 for value in (self.size, self.crc32)):
            raise ValueError(f"{self} is no mark of metrics")


class Log:
    """Lines appended to `path`, each handed to the operating system by one write.

    Without a `mark` the file starts empty; with one it goes on behind the mark and what follows
    is dropped. Raises UserError where the file is not the one that was marked.
    """

    def __init__(self, path: Path, mark: Mark = Mark(0, 0)) -> None:
        self._path, self._size, self._crc = path, mark.size, mark.crc32
        if mark.size:
            check(path, mark)
        with writing(path):
            if mark.size:
                os.truncate(path, mark.size)
            self._file = open(path, "ab" if mark.size else "wb", buffering=0)  # noqa: SIM115

    def append(self, line: bytes) -> None:
        """Append `line`; where the disk is full nothing of it stays."""
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
        """Where the metrics stand, once that much is on the disk."""
        with writing(self._path):
            os.fsync(self._file.fileno())
        return Mark(self._size, self._crc)

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        self._file.close()


def check(path: Path, mark: Mark) -> None:
    """Raise UserError unless `path` begins with the bytes that `mark` stands for."""
    try:
        prefix = path.read_bytes()[: mark.size]
    except OSError as error:
        refuse("metrics", str(path), f"a readable file ({error.strerror})", _REMEDY)
    if (len(prefix), zlib.crc32(prefix)) != (mark.size, mark.crc32):
        accepted = f"the {mark.size} bytes that the checkpoint goes with"
        refuse("metrics", str(path), accepted, _REMEDY)


_REMEDY = "Start the run afresh with restart=true."
