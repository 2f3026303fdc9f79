"""One live process a run: a lock, and beside it who holds it.

The lock of a process ends with it, however it ends. It lies outside the folder of the run, which
`set_aside` moves, so that two processes never lock two files that have had the same name. The root
of the results may be a link that the user made; the folders of experiments, runs and locks below
it may not.
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
            data: Any = json.loads(read(folder / OWNER, MOST_OF_OWNER))
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
    """The right to write the run in `folder`, held from construction to `release`.

    Raises UserError where another process holds it, or where something else than a folder or a
    file of snaprun's own stands in its place.
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
        """The folder of the run, made if need be, with a note in it of who holds the lock."""
        with writing(self._folder):
            self._run = self.experiment.below(self._folder.name, make=True)
            self._open.push(self._run)
            self._run.sweep()
        self._run.write(OWNER, json.dumps(asdict(Owner.this())) + "\n")
        return self._run

    def require(self) -> None:
        """Raise UserError unless the folder and the lock are still those that were taken."""
        with writing(self._folder):
            held = self._held()
        if not held:
            raise UserError(
                f"{self._folder}: this folder or its lock was removed or replaced while the run "
                "was written. This process ends, and leaves alone what lies there now."
            )

    def release(self) -> None:
        """Leave the run to others; harmless when repeated."""
        if self._lock.is_locked:
            try:
                if self._run and self._held():
                    self._run.remove(OWNER)
            except OSError:
                pass  # the process is known by its end, too
            finally:
                self._open.close()

    def _held(self) -> bool:
        """Whether the paths still lead to what was taken."""
        now = self._locks.stat(self._name)
        if now is None or self._taken is None or not os.path.samestat(now, self._taken):
            return False
        return self._locks.in_place() and (self._run is None or self._run.in_place())


def set_aside(folder: Path) -> Path | None:
    """Move the run in `folder` to where no figure finds it, if there is one; returns where to.

    A link in its place is moved as itself. Raises UserError where another process writes the run.
    """
    lock = Lock(folder)
    try:
        if lock.experiment.stat(folder.name) is None:
            return None
        with (
            writing(folder.parent / REPLACED),
            lock.experiment.below(REPLACED, make=True) as replaced,
        ):
            names = (f"{folder.name}-{n}" for n in itertools.count(1))
            name = next(name for name in names if replaced.stat(name) is None)
            lock.experiment.move(folder.name, replaced, name)
            return replaced.path / name
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
        return max(
            (entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(folder)),
            default=0.0,
        )
    return 0.0
