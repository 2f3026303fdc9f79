"""A signal asks a run to stop: the run finishes its step, saves a checkpoint and ends."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

from snaprun.checks import Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def handled(handlers: Mapping[int, Callable[[int, FrameType | None], Any]]) -> Iterator[None]:
    """Inside the block call these handlers of signals, except of a signal that is ignored.

    Python allows signal handlers only in the main thread; in other threads nothing changes.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        heard = [s for s in handlers if signal.getsignal(s) is not signal.SIG_IGN]
        before = {signum: signal.signal(signum, handlers[signum]) for signum in heard}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


class StopSignals:
    """A context manager that records SIGINT and SIGTERM; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._block = ExitStack()

    @property
    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self._received is not None

    def check(self) -> None:
        """Raise Stopped if a signal has arrived."""
        if self._received is not None:
            raise Stopped(self._received)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self._received is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        if self._received is None:
            hint = "; SIGINT again ends it at once" if signum == signal.SIGINT else ""
            said = f"snaprun: {signal.Signals(signum).name}: saving a checkpoint{hint}\n"
            # Not print: the signal may interrupt a print, which holds the lock of the buffer.
            os.write(2, said.encode())
        self._received = self._received or signum

    def __enter__(self) -> "StopSignals":
        self._block.enter_context(handled(dict.fromkeys(SIGNALS, self._note)))
        return self

    def __exit__(self, *exception: object) -> None:
        self._block.close()
