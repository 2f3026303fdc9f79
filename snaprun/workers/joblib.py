"""Several processes on this machine, through joblib's loky."""

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from tqdm import tqdm

from snaprun import checks
from snaprun.outcome import Outcome, Status, unexpected
from snaprun.workers.base import PATIENCE, Job, Workers, needed


class Joblib(Workers[Job]):
    """Runs `n_jobs` jobs at once in processes that stay; -1: as many as there are cores.

    Each process has an executor of its own, so that the death of one ends one job: a pool of
    several processes would be lost as a whole.
    """

    def __init__(self, n_jobs: int) -> None:
        joblib: Any = needed("joblib")
        if n_jobs == 0 or n_jobs < -joblib.cpu_count():
            checks.refuse("hydra.launcher.n_jobs", n_jobs, "an integer ≥ 1, or -1 for all cores")
        self._executor = needed("joblib.externals.loky").ProcessPoolExecutor
        self.most = joblib.effective_n_jobs(n_jobs)
        self._idle: list[Any] = []  # executors
        self._running: dict[Future[Outcome], tuple[int, Any, Future[int]]] = {}

    def submit(self, number: int, job: Job) -> None:
        """Run `job` in an idle process, or in a new one."""
        own = {"max_workers": 1, "initializer": _begin, "initargs": (os.getpid(),)}
        executor = self._idle.pop() if self._idle else self._executor(**own)
        process = executor.submit(os.getpid)
        self._running[executor.submit(job)] = (number, executor, process)

    def ended(self) -> Iterator[tuple[int, Outcome]]:
        """The jobs whose outcome is there, or whose process is dead."""
        done, _ = futures.wait(self._running, PATIENCE, futures.FIRST_COMPLETED)
        for future in done:
            number, executor, _ = self._running.pop(future)
            error = future.exception()
            if error is None:
                self._idle.append(executor)
                yield number, future.result()
            else:
                yield number, Outcome(Status.STOPPED) if self.stopping else _died(error)

    def stop(self) -> None:
        """SIGTERM to each process that runs a job."""
        for _, _, process in self._running.values():
            with suppress(Exception):  # it is dead, and `ended` will say so
                os.kill(process.result(), signal.SIGTERM)

    def close(self) -> None:
        """Kill the processes."""
        for executor in [*self._idle, *(executor for _, executor, _ in self._running.values())]:
            executor.shutdown(kill_workers=True)


def _died(error: BaseException) -> Outcome:
    """The outcome of a job that could not tell its end."""
    if code := re.search(r"exit codes of the workers are \{(.+?)\}", str(error)):
        return Outcome(Status.FAILED, problem=f"its process died: {code[1]}")
    return unexpected(error)


def _begin(parent: int) -> None:
    """Let the process take signals from its `parent` alone, and stop when that has gone."""
    os.setpgid(0, 0)  # out of the terminal's reach
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    # The lock that tqdm makes of itself would outlive a process that is killed.
    tqdm.set_lock(threading.RLock())


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    while True:  # a run ends on the first signal, the process on the next
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
