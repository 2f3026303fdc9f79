"""A file layer that fails: the store's own calls of the operating system, counted, one broken."""

import builtins
import errno
import io
import math
import os
from collections.abc import Callable
from typing import Any

from snaprun import files

KINDS = ("ENOSPC", "EIO", "full", "short", "short and full", "killed")
CALLS = ("fsync", "replace", "rename", "unlink", "mkdir")


class Killed(BaseException):
    """Stands for kill -9: from here on nothing reaches the disk, not even what tidies up."""


class Faults:
    """Breaks call number `at` (from 0) of the store's writes, syncs, renames and the like.

    ENOSPC and EIO fail once, `full` from then on for all but removals; `short` writes half of
    what it should, and after `short and full` the disk is full.
    """

    def __init__(self, kind: str = "", at: float = math.inf) -> None:
        self.kind, self.at, self.calls = kind, at, 0
        self.hit = False

    def install(self, monkeypatch: Any) -> None:
        for name in CALLS:
            monkeypatch.setattr(os, name, self._around(getattr(os, name), name == "unlink"))
        monkeypatch.setattr(files, "open", self._open, raising=False)

    def _around(self, call: Callable[..., Any], removal: bool = False) -> Callable[..., Any]:
        def faulty(*arguments: Any, **options: Any) -> Any:
            self.step(removal)
            return call(*arguments, **options)

        return faulty

    def step(self, removal: bool = False) -> None:
        """Count one call; raise if it is to fail."""
        now, self.calls = self.calls, self.calls + 1
        if self.kind == "killed" and now >= self.at:
            self.hit = True
            raise Killed
        if self.kind in ("ENOSPC", "EIO") and now == self.at:
            self.hit = True
            raise OSError(getattr(errno, self.kind), os.strerror(getattr(errno, self.kind)))
        full = self.kind == "full" and now >= self.at
        full |= self.kind == "short and full" and now > self.at and self.hit
        if full and not removal:
            self.hit = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def length(self, size: int) -> int:
        """How much of a write of `size` bytes is taken; counts it as a call."""
        short = self.kind.startswith("short") and self.calls == self.at
        self.step()
        self.hit |= short
        return size // 2 if short and size > 1 else size

    def _open(self, path: Any, mode: str = "r", buffering: int = -1, opener: Any = None) -> Any:
        if mode not in ("xb", "ab"):
            return builtins.open(path, mode, buffering, opener=opener)
        self.step()
        raw = _File(self, path, mode, opener)
        return raw if buffering == 0 else io.BufferedWriter(raw)


class _File(io.FileIO):
    def __init__(self, faults: Faults, path: Any, mode: str, opener: Any) -> None:
        self._faults = faults
        super().__init__(path, mode, opener=opener)

    def write(self, data: Any) -> int:
        with memoryview(data) as view:
            return super().write(view[: self._faults.length(len(view))])

    def truncate(self, size: int | None = None) -> int:
        self._faults.step(removal=True)
        return super().truncate(size)
