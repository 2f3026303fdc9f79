"""The journal of a search: Optuna's own format, written so that a kill at any moment does no harm.

Optuna's own locks are files that a killed process leaves behind, for which others wait half a
minute; a killed or full disk's half-written line would make the journal unreadable for good.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from snaprun.checks import UserError, refuse
from snaprun.files import writing

JOURNAL = "journal.jsonl"
_PIECE = 2**16  # bytes that are searched at once for the end of the last whole line


class _Lock(JournalFileOpenLock):
    """Lets one process append; it ends with its process, and whoever takes it cuts a torn line."""

    def __init__(self, file: Path) -> None:
        super().__init__(str(file))
        # Not Optuna's name of a lock, which its tools would take for that of a dead process.
        self._file, self._lock = file, FileLock(file.with_name(f".{file.name}.lock"))

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._lock.acquire()
        cut_torn_line(self._file)
        return True

    def release(self) -> None:
        """Give up the lock."""
        self._lock.release()


def cut_torn_line(file: Path) -> None:
    """Remove what follows the last newline of `file`: a process was killed while writing."""
    with open(file, "r+b") as opened:
        end = size = opened.seek(0, os.SEEK_END)
        while end:
            start = opened.seek(max(0, end - _PIECE))
            if found := opened.read(end - start).rfind(b"\n") + 1:
                end = start + found
                break
            end = start
        if end < size:
            opened.truncate(end)


class Journal(JournalFileBackend):
    """The journal in a file that exists; raises UserError if the disk is full."""

    def __init__(self, file: Path) -> None:
        super().__init__(str(file), _Lock(file))
        self._path = file
        self._held: list[dict[str, Any]] | None = None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries, or keep them for the end of the block `together`."""
        if self._held is not None:
            self._held += logs
            return
        with writing(self._path):
            super().append_logs(logs)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write all entries of the block at its end, at once: a kill leaves all or none."""
        self._held = held = []
        try:
            yield
        finally:
            self._held = None
        self.append_logs(held)


def opened(folder: Path) -> tuple[JournalStorage, Journal]:
    """Return the storage in the folder of a search; raises UserError if it is damaged."""
    file = folder / JOURNAL
    try:
        journal = Journal(file)
        return JournalStorage(journal), journal
    except UserError:
        raise
    except Exception as error:  # Optuna raises many types for a damaged line
        said = " ".join(str(error).split())
        refuse(str(file), said, "a journal of Optuna", "Remove its folder to search afresh.")
