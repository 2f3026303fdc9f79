"""The interface of workers, the loop that gives them jobs, and the simplest worker."""

import importlib
import itertools
import math
import signal
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Generic, TypeVar

from snaprun.checks import Stopped, UserError, needing
from snaprun.outcome import Outcome, Status
from snaprun.run.signals import StopSignals

Job = Callable[[], Outcome]  # must be picklable
J = TypeVar("J")
PATIENCE = 0.2  # seconds between two checks for a signal


class Workers(ABC, Generic[J]):
    """Runs jobs, several at once; each job is identified by a number."""

    most: float = math.inf  # the most jobs that it takes on at once
    width = 1  # the jobs that run side by side, as far as it is known
    stopping = 0  # the signal that stops the jobs; 0 until there is one

    @abstractmethod
    def submit(self, number: int, job: J) -> None:
        """Start `job`, or queue it."""

    @abstractmethod
    def ended(self) -> Iterable[tuple[int, Outcome]]:
        """Return the jobs that have ended since the last call, after waiting briefly for one."""

    def stop(self) -> None:
        """Ask running jobs to save a checkpoint and end; jobs that wait will not run."""

    def close(self) -> None:
        """Kill every process that was started for the jobs."""


class Here(Workers[Job]):
    """Runs one job after another in this process."""

    most = 1

    def submit(self, number: int, job: Job) -> None:
        """Keep `job` until the next call of `ended`, which runs it."""
        self._next = number, job

    def ended(self) -> Iterator[tuple[int, Outcome]]:
        """Run the submitted job; raises Stopped after it if a signal stopped the job."""
        number, job = self._next
        yield number, (outcome := job())
        if outcome.status is Status.STOPPED:
            raise Stopped(outcome.signum)


def dispatch(
    workers: Workers[J],
    jobs: Iterable[Callable[[], J]],
    record: Callable[[int, Outcome], None],
    more: Callable[[], Iterable[Callable[[], J]]] = tuple,
) -> None:
    """Run `jobs`, making each one when its turn comes, and `record` how each of them ended.

    Whenever all jobs have ended, `more` returns further ones, or none at the end. After SIGINT or
    SIGTERM, or a UserError, no further job starts; when the running jobs have ended, raises Stopped
    or that UserError. A second SIGINT raises KeyboardInterrupt at once.

    >>> from functools import partial
    >>> done = partial(Outcome, Status.DONE)
    >>> dispatch(Here(), [lambda: done] * 2, lambda number, how: print(number, how.status.name))
    0 DONE
    1 DONE
    """
    numbers, running = itertools.count(), set[int]()
    waiting = deque(zip(jobs, numbers, strict=False))

    def collect() -> None:
        for number, outcome in workers.ended():
            running.remove(number)
            record(number, outcome)

    try:
        with StopSignals() as stop:
            try:
                while True:
                    stop.check()
                    if not waiting and not running:
                        waiting.extend(zip(more(), numbers, strict=False))
                        if not waiting:
                            break
                    if waiting and len(running) < workers.most:
                        make, number = waiting[0]
                        job = make()
                        waiting.popleft()
                        running.add(number)
                        workers.submit(number, job)
                    else:
                        collect()
            except (Stopped, UserError) as error:
                workers.stopping = getattr(error, "signum", signal.SIGTERM)
                workers.stop()
                while running:
                    collect()
                raise
    finally:
        workers.close()
        for number in running:
            record(number, Outcome(Status.STOPPED))
        for _, number in waiting:
            record(number, Outcome(Status.NOT_STARTED))


# For each optional package: the extra that installs it, and the launcher that needs it.
_OPTIONAL = {
    "joblib": ("joblib", "joblib"),
    "ray": ("ray", "ray"),
    "submitit": ("slurm", "submitit_slurm"),
}


def needed(package: str) -> ModuleType:
    """Import an optional package or module of one; raises UserError if it is not installed."""
    extra, launcher = _OPTIONAL[package.partition(".")[0]]
    with needing(f"hydra/launcher={launcher}", extra):
        return importlib.import_module(package)
