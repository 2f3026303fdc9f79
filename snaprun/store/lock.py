"""One live process a run: a lock, and beside it who holds it.

The lock of a process ends with it, however it ends. It lies outside the folder of the run, which
`set_aside` moves, so that two processes never lock two files that have had the same name.
"""

import itertools
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from snaprun.checks import refuse
from snaprun.files import write_atomically, writing
from snaprun.store.schema import LOCKS, OWNER, REPLACED

RECENT = 300  # seconds within which a live run has written something: a checkpoint, a row


@dataclass(frozen=True)
class Owner:
    """The process that writes a run."""

    host: str
    pid: int
    started: str  # ISO 8601, of the run
    born: float  # of the process, seconds since the epoch: another may have its pid later

    @classmethod
    def this(cls) -> "Owner":
        """This process, from now on."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        return cls(socket.gethostname(), os.getpid(), now, psutil.Process().create_time())

    @classmethod
    def read(cls, folder: Path) -> "Owner | None":
        """The owner that `folder` names, None where none is named or can be made out."""
        try:
            data: Any = json.loads((folder / OWNER).read_bytes())
            owner = cls(data["host"], data["pid"], data["started"], data["born"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None
        kinds = [type(value) for value in asdict(owner).values()]
        return owner if kinds == [str, int, str, float] else None

    def lives(self, folder: Path) -> bool:
        """Whether it still writes `folder`; of another host: whether it did so lately."""
        if self.host != socket.gethostname():
            return time.time() - _last_write(folder) < RECENT
        try:
            process = psutil.Process(self.pid)
            dead = process.status() == psutil.STATUS_ZOMBIE
            # The clock that both times are counted from may have been set in between.
            return not dead and abs(process.create_time() - self.born) < 5
        except (psutil.NoSuchProcess, ValueError, OverflowError):
            return False


class Lock:
    """The right to write `folder`, held from construction to `release`; raises UserError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        locks = folder.parent / LOCKS
        self._lock = FileLock(locks / f"{folder.name}.lock", timeout=0)
        with writing(folder):
            locks.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire()
            except Timeout:
                accepted = f"one that no other process writes, as {_holder(folder)} does"
                refuse("run folder", str(folder), accepted, "Wait for it to end.")

    def sign(self) -> None:
        """Write into the folder who holds the lock."""
        write_atomically(self._folder / OWNER, json.dumps(asdict(Owner.this())) + "\n")

    def release(self) -> None:
        """Leave the run to others; harmless when repeated."""
        if self._lock.is_locked:
            try:
                (self._folder / OWNER).unlink(missing_ok=True)
            except OSError:
                pass  # the process is known by its end, too
            finally:
                self._lock.release()


def set_aside(folder: Path) -> Path | None:
    """Move the run in `folder` to where no figure finds it, if there is one; returns where to.

    Raises UserError where another process writes it.
    """
    lock = Lock(folder)
    try:
        if not folder.exists():
            return None
        replaced = folder.parent / REPLACED
        names = (replaced / f"{folder.name}-{n}" for n in itertools.count(1))
        target = next(name for name in names if not name.exists())
        with writing(replaced):
            replaced.mkdir(exist_ok=True)
            folder.rename(target)
        return target
    finally:
        lock.release()


def _holder(folder: Path) -> str:
    """Who holds the lock, in words; it may be about to say so."""
    for _ in range(20):
        owner = Owner.read(folder)
        if owner and owner.lives(folder):
            return f"process {owner.pid} on {owner.host} since {owner.started}"
        time.sleep(0.05)
    return "another that has not said who it is"


def _last_write(folder: Path) -> float:
    """When a file in `folder` was last changed, in seconds since the epoch; 0 where none is."""
    with suppress(OSError):
        return max((entry.stat().st_mtime for entry in os.scandir(folder)), default=0.0)
    return 0.0
