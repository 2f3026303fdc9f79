"""A signal asks a run to stop: the run finishes its step, saves a checkpoint and ends."""

import os
import signal
import threading
from types import FrameType

from snaprun.checks import Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """A context manager that records SIGINT and SIGTERM; a second SIGINT interrupts at once.

    Python allows signal handlers only in the main thread; in other threads nothing changes.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._before: dict[int, signal._HANDLER] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self._received is not None

    def check(self) -> None:
        """Raise Stopped if a signal has arrived."""
        if self._received is not None:
            raise Stopped(self._received)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        del frame
        if self._received is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        if self._received is None:
            hint = "; SIGINT again ends it at once" if signum == signal.SIGINT else ""
            said = f"snaprun: {signal.Signals(signum).name}: saving a checkpoint{hint}\n"
            # Not print: the signal may interrupt a print, which holds the lock of the buffer.
            os.write(2, said.encode())
        self._received = self._received or signum

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            heard = [s for s in SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
            self._before = {signum: signal.signal(signum, self._note) for signum in heard}
        return self

    def __exit__(self, *exception: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
