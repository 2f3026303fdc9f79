"""Workers that are processes on this machine, through joblib's loky."""

import math
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
    """Runs `n_jobs` jobs at once (-1: one per core) in processes that are reused.

    Each process has an executor of its own, so that the death of a process ends only its own job;
    a pool of several processes would be lost as a whole.
    """

    def __init__(self, n_jobs: int) -> None:
        joblib: Any = needed("joblib")
        if n_jobs == 0 or n_jobs < -joblib.cpu_count():
            checks.refuse("hydra.launcher.n_jobs", n_jobs, "an integer ≥ 1, or -1 for all cores")
        self._executor = needed("joblib.externals.loky").ProcessPoolExecutor
        self.most = self.width = joblib.effective_n_jobs(n_jobs)
        self._idle: list[Any] = []  # executors
        self._running: dict[Future[Outcome], tuple[int, Any, Future[int]]] = {}

    def submit(self, number: int, job: Job) -> None:
        """Run `job` in an idle process, or in a new one."""
        own = {"max_workers": 1, "initializer": _begin, "initargs": (os.getpid(),)}
        executor = self._idle.pop() if self._idle else self._executor(**own)
        process = executor.submit(os.getpid)
        self._running[executor.submit(job)] = (number, executor, process)

    def ended(self) -> Iterator[tuple[int, Outcome]]:
        """Yield the jobs that have an outcome or a dead process."""
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
        """Send SIGTERM to each process that runs a job."""
        for _, _, process in self._running.values():
            with suppress(Exception):  # the process is dead, which `ended` will report
                os.kill(process.result(), signal.SIGTERM)

    def close(self) -> None:
        """Kill the processes."""
        for executor in [*self._idle, *(executor for _, executor, _ in self._running.values())]:
            executor.shutdown(kill_workers=True)


def _died(error: BaseException) -> Outcome:
    """Return the outcome of a job that ended without reporting one."""
    if code := re.search(r"exit codes of the workers are \{(.+?)\}", str(error)):
        return Outcome(Status.FAILED, problem=f"its process died: {code[1]}")
    return unexpected(error)


def _begin(parent: int) -> None:
    """Make this process take signals from its `parent` only, and stop when the parent is gone."""
    os.setpgid(0, 0)  # signals of the terminal do not reach another process group
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    # loky would take the memory of torch for a leak and run the next job in a process that `stop`
    # does not know.
    executor: Any = needed("joblib.externals.loky.process_executor")
    executor._MAX_MEMORY_LEAK_SIZE = math.inf
    # The lock that tqdm makes by default would outlive a process that is killed.
    tqdm.set_lock(threading.RLock())


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    while True:  # the first signal ends the run, the next one the process
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
