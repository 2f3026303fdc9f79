"""A lock that lets one live process write a run, and a file that says which process that is.

A lock ends with its process, however that ends. It lies outside the folder of the run,
because `set_aside` moves that folder: two processes must never lock two files that have had the
same name. The root of the results may be a link that the user made; the folders of experiments,
runs and locks below the root may not be links.
"""

import itertools
import json
import os
import socket
import stat
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from snaprun.checks import UserError, refuse
from snaprun.files import Folder, read, writing
from snaprun.store.schema import LOCKS, MOST_OF_OWNER, OWNER, REPLACED

RECENT = 300  # seconds: a live run writes a row or a checkpoint at least this often


@dataclass(frozen=True)
class Owner:
    """The process that writes a run."""

    host: str
    pid: int
    started: str  # when the process took the run, ISO 8601
    born: float  # when the process began, seconds since the epoch; its pid may be used again later

    @classmethod
    def this(cls) -> "Owner":
        """Return this process as an owner that takes the run now."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        return cls(socket.gethostname(), os.getpid(), now, psutil.Process().create_time())

    @classmethod
    def read(cls, folder: Path) -> "Owner | None":
        """Return the owner that `folder` names, or None if its file is missing or unreadable."""
        try:
            data: Any = json.loads(read(folder / OWNER, MOST_OF_OWNER))
            owner = cls(data["host"], data["pid"], data["started"], data["born"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None
        kinds = [type(value) for value in asdict(owner).values()]
        return owner if kinds == [str, int, str, float] else None

    def lives(self, folder: Path) -> bool:
        """Return whether the owner lives; on another host, whether `folder` changed lately."""
        if self.host != socket.gethostname():
            with suppress(OSError):
                times = [entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(folder)]
                return time.time() - max(times, default=0.0) < RECENT
            return False
        try:
            process = psutil.Process(self.pid)
            dead = process.status() == psutil.STATUS_ZOMBIE
            # Both times depend on the clock, which may have been set in between.
            return not dead and abs(process.create_time() - self.born) < 5
        except (psutil.NoSuchProcess, ValueError, OverflowError):
            return False


class Lock:
    """The right to write the run in `folder`, held from construction to `release`.

    Raises UserError if another process holds that right, or if the path of the run or of its lock
    leads to anything but a folder or a file of snaprun's own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._name = folder, f"{folder.name}.lock"
        self._run: Folder | None = None
        with ExitStack() as stack, writing(folder):
            with writing(folder.parent):
                self.experiment = stack.enter_context(Folder.make(folder.parent))
            with writing(folder.parent / LOCKS):
                self._locks = stack.enter_context(self.experiment.below(LOCKS, make=True))
            self._lock = FileLock(self._locks.path / self._name, timeout=0)
            try:
                self._lock.acquire()
            except Timeout:
                accepted = f"one that no other process writes, as {_holder(folder)} does"
                refuse("run folder", str(folder), accepted, "Wait for it to end.")
            stack.callback(self._lock.release)
            self._taken = self._locks.stat(self._name)
            if self._taken is None or not stat.S_ISREG(self._taken.st_mode) or not self._held():
                refuse("lock", str(self._locks.path / self._name), "a file of snaprun's own")
            self._open = stack.pop_all()

    def enter(self) -> Folder:
        """Return the folder of the run, made if missing; a note in it says who holds the lock."""
        with writing(self._folder):
            self._run = self.experiment.below(self._folder.name, make=True)
            self._open.push(self._run)
            self._run.sweep()
        self._run.write(OWNER, json.dumps(asdict(Owner.this())) + "\n")
        return self._run

    def require(self) -> None:
        """Raise UserError unless the folder and the lock are still the ones that were taken."""
        with writing(self._folder):
            if self._held():
                return
            raise UserError(
                f"{self._folder}: this folder or its lock was removed or replaced while the run "
                "was written. This process ends, and leaves alone what lies there now."
            )

    def release(self) -> None:
        """Give up the lock, so that other processes may write the run; may be repeated."""
        if self._lock.is_locked:
            # A stale note does no harm: readers check that its process lives.
            with self._open, suppress(OSError):
                if self._run and self._held():
                    self._run.remove(OWNER)

    def _held(self) -> bool:
        """Return whether the paths still lead to the lock and the folder that were taken."""
        now = self._locks.stat(self._name)
        if now is None or self._taken is None or not os.path.samestat(now, self._taken):
            return False
        return self._locks.in_place() and (self._run is None or self._run.in_place())


def set_aside(folder: Path) -> Path | None:
    """Move the run in `folder` to where no figure finds it; return its new path, None without one.

    Moves a link as itself. Raises UserError if another process writes the run.
    """
    lock = Lock(folder)
    try:
        if lock.experiment.stat(folder.name) is None:
            return None
        above = lock.experiment
        with writing(above.path / REPLACED), above.below(REPLACED, make=True) as replaced:
            names = (f"{folder.name}-{n}" for n in itertools.count(1))
            name = next(name for name in names if replaced.stat(name) is None)
            above.move(folder.name, replaced, name)
            return replaced.path / name
    finally:
        lock.release()


def _holder(folder: Path) -> str:
    """Return in words who holds the lock, after waiting a while for the holder's note."""
    for _ in range(20):
        owner = Owner.read(folder)
        if owner and owner.lives(folder):
            return f"process {owner.pid} on {owner.host} since {owner.started}"
        time.sleep(0.05)
    return "another that has not said who it is"
