"""What workers do, the loop that keeps them busy, and the simplest of them: this process."""

import importlib
import math
import signal
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Generic, TypeVar

from snaprun.checks import Stopped, UserError
from snaprun.outcome import Outcome, Status
from snaprun.run.signals import StopSignals

Job = Callable[[], Outcome]  # can be pickled
J = TypeVar("J")
PATIENCE = 0.2  # seconds between two looks at whether a signal has come


class Workers(ABC, Generic[J]):
    """Runs jobs, some of them at once; they go by a number."""

    most: float = math.inf  # jobs that it takes on before one of them has ended
    stopping = 0  # the signal that stops the jobs, once one does

    @abstractmethod
    def submit(self, number: int, job: J) -> None:
        """Take on `job`."""

    @abstractmethod
    def ended(self) -> Iterable[tuple[int, Outcome]]:
        """The jobs that have ended since the last call; waits a moment for one."""

    def stop(self) -> None:
        """Ask the jobs that run to save a checkpoint and end; those that wait never run."""

    def close(self) -> None:
        """End at once every process that was started for the jobs."""


class Here(Workers[Job]):
    """One job after the other in this process."""

    most = 1

    def submit(self, number: int, job: Job) -> None:
        """Keep `job` for its turn, which is now."""
        self._next = number, job

    def ended(self) -> Iterator[tuple[int, Outcome]]:
        """That job, run; Stopped where it took the signal that was meant for all of them."""
        number, job = self._next
        yield number, (outcome := job())
        if outcome.status is Status.STOPPED:
            raise Stopped(outcome.signum)


def dispatch(
    workers: Workers[J], jobs: Iterable[Callable[[], J]], record: Callable[[int, Outcome], None]
) -> None:
    """Run `jobs`, each made when its turn has come, and `record` how each ended.

    After SIGINT or SIGTERM, which raise Stopped, or a UserError no other job starts, and it is
    raised when those that run have ended; a second SIGINT raises KeyboardInterrupt at once.
    """
    waiting, running = deque(enumerate(jobs)), set[int]()

    def collect() -> None:
        for number, outcome in workers.ended():
            running.remove(number)
            record(number, outcome)

    try:
        with StopSignals() as stop:
            try:
                while waiting or running:
                    stop.check()
                    if waiting and len(running) < workers.most:
                        number, make = waiting[0]
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
        for number, _ in waiting:
            record(number, Outcome(Status.NOT_STARTED))


# The extra that brings each package, and the launcher that needs it.
_OPTIONAL = {
    "joblib": ("joblib", "joblib"),
    "ray": ("ray", "ray"),
    "submitit": ("slurm", "submitit_slurm"),
}


def needed(package: str) -> ModuleType:
    """An optional package, as it is called here; UserError where it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        extra, launcher = _OPTIONAL[package.partition(".")[0]]
        raise UserError(
            f"hydra/launcher={launcher} needs the package {package}, which is not installed: "
            f"pip install 'snaprun[{extra}]'."
        ) from error
