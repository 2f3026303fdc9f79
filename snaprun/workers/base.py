"""What workers do, the loop that keeps them busy, and the simplest of them: this process."""

import importlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType

from snaprun.checks import Stopped, UserError
from snaprun.outcome import Outcome, Status
from snaprun.train.stopping import StopSignals

Job = Callable[[], Outcome]  # can be pickled
PATIENCE = 0.2  # seconds between two looks at whether a signal has come


class Workers(ABC):
    """Runs jobs, some of them at once; they go by a number."""

    @abstractmethod
    def free(self) -> bool:
        """Whether another job may be submitted now."""

    @abstractmethod
    def submit(self, number: int, job: Job) -> None:
        """Take on `job`."""

    @abstractmethod
    def ended(self) -> Iterable[tuple[int, Outcome]]:
        """The jobs that have ended since the last call; waits a moment for one."""

    def stop(self) -> None:  # noqa: B027
        """Ask the jobs that run to save a checkpoint and end; those that wait never run."""

    def close(self) -> None:  # noqa: B027
        """End at once every process that was started for the jobs."""


class Here(Workers):
    """One job after the other in this process."""

    def __init__(self) -> None:
        self._ended: list[tuple[int, Outcome]] = []

    def free(self) -> bool:
        """Once the last job has been collected."""
        return not self._ended

    def submit(self, number: int, job: Job) -> None:
        """Run `job`."""
        self._ended.append((number, job()))

    def ended(self) -> Iterator[tuple[int, Outcome]]:
        """The last job; Stopped where it took the signal that was meant for all of them."""
        number, outcome = self._ended.pop()
        yield number, outcome
        if outcome.status is Status.STOPPED:
            raise Stopped(outcome.signum)


def spread(
    workers: Workers, jobs: Iterable[Callable[[], Job]], record: Callable[[int, Outcome], None]
) -> None:
    """Run `jobs`, each made when its turn has come, and `record` how each ended.

    After SIGINT or SIGTERM no other job starts, and Stopped is raised when those that run have
    ended; a second SIGINT raises KeyboardInterrupt at once.
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
                    if waiting and workers.free():
                        number, make = waiting[0]
                        job = make()
                        waiting.popleft()
                        running.add(number)
                        workers.submit(number, job)
                    else:
                        collect()
            except Stopped:
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
