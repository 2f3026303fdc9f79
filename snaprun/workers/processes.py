"""Workers that are commands of snaprun, each in a process of its own on this machine."""

import time
from collections.abc import Iterator
from subprocess import Popen

from snaprun.outcome import USER_MISTAKE, Outcome, Status
from snaprun.workers.base import PATIENCE, Workers

_GRACE = 15.0  # seconds for a stopped run to save its checkpoint
_STATUS = {0: Status.DONE, USER_MISTAKE: Status.REFUSED}


class Processes(Workers[Popen]):
    """Waits for up to `most` processes at once, which are started before they are submitted."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._running: dict[int, Popen] = {}

    def submit(self, number: int, job: Popen) -> None:
        """Add `job` to the processes to wait for."""
        self._running[number] = job

    def ended(self) -> Iterator[tuple[int, Outcome]]:
        """Yield the processes that have ended."""
        time.sleep(PATIENCE)
        for number in [n for n, process in self._running.items() if process.poll() is not None]:
            code = self._running.pop(number).returncode
            status = Status.STOPPED if self.stopping else _STATUS.get(code, Status.FAILED)
            yield number, Outcome(status)

    def stop(self) -> None:
        """Pass the signal on to each process; kill those that have not ended 15 s later."""
        for process in self._running.values():
            process.send_signal(self.stopping)
        deadline = time.monotonic() + _GRACE
        while any(p.poll() is None for p in self._running.values()) and time.monotonic() < deadline:
            time.sleep(PATIENCE)
        self.close()

    def close(self) -> None:
        """Kill the processes."""
        for process in self._running.values():
            process.kill()
            process.wait()
